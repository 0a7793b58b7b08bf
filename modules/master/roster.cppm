module;
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>
export module ringfort.master:roster;

import ringfort.base;
import ringfort.channel;
import ringfort.process;
import :policy;

export namespace ringfort::master {

/// A living worker process as the master sees it.
struct WorkerProcess {
    WorkerId id;
    process::Child process;
    channel::Channel channel;
    std::uint32_t row = 0;     ///< of the zone of counters; no two living workers share one
    std::size_t equipped = 0;  ///< zones, listeners and the order to start, sent so far
    bool told_to_end = false;  ///< its exit is no surprise
    bool channel_open = true;
};

/// The living workers of all generations.
class Roster {
public:
    using Workers = std::vector<std::unique_ptr<WorkerProcess>>;

    /// Finds a living worker; nullptr when there is none. Valid until it is removed.
    [[nodiscard]] WorkerProcess* find(WorkerId id) const noexcept;
    /// Finds the lowest row that no living worker uses; nothing when all are taken.
    [[nodiscard]] std::optional<std::uint32_t> free_row() const;
    WorkerProcess& add(WorkerProcess worker);
    void remove(WorkerId id) noexcept;
    [[nodiscard]] const Workers& workers() const noexcept { return workers_; }

private:
    Workers workers_;
};

}  // namespace ringfort::master
