export module ringfort.master:roster;

import ringfort.base;
import ringfort.channel;
import ringfort.process;
import ringfort.std;
import :policy;

export namespace ringfort::master {

/// A living worker process as the master sees it.
struct WorkerProcess {
    WorkerId id;
    process::Child process;
    channel::Channel channel;
    std::uint32_t row = 0;       ///< of counters and in pools; no two living workers share one
    std::uint64_t identity = 0;  ///< as process::identify says
    std::size_t equipped = 0;    ///< zones, listeners and the order to start, sent so far
    bool told_to_end = false;    ///< its exit is no surprise
    bool channel_open = true;
};

/// The living workers of all generations.
class Roster {
public:
    using Workers = std::vector<std::unique_ptr<WorkerProcess>>;

    /// Finds a living worker; nullptr when there is none. Valid until it is removed.
    [[nodiscard]] WorkerProcess* find(WorkerId id) const noexcept;
    /// Finds the lowest row, or the highest, that no living worker uses and that is free besides;
    /// nothing when there is none.
    [[nodiscard]] std::optional<std::uint32_t> free_row(
        const std::function<bool(std::uint32_t)>& is_free = {}) const;
    /// Says which rows the workers of another master use, and whether to take the highest free row
    /// from now on: two masters that serve beside each other begin at different ends.
    void share_rows(const std::vector<std::uint32_t>& taken, bool from_top);
    /// Says that the other master and its workers have gone.
    void own_rows() noexcept { taken_.clear(); }
    /// Returns the rows in use, by whomever.
    [[nodiscard]] std::vector<std::uint32_t> rows() const;
    [[nodiscard]] bool rows_from_top() const noexcept { return from_top_; }
    WorkerProcess& add(WorkerProcess worker);
    void remove(WorkerId id) noexcept;
    [[nodiscard]] const Workers& workers() const noexcept { return workers_; }

private:
    Workers workers_;
    std::vector<std::uint32_t> taken_;  ///< rows of another master's workers
    bool from_top_ = false;
};

}  // namespace ringfort::master
