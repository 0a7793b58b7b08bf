export module ringfort.uring:ration;

import ringfort.std;

export namespace ringfort::uring {

/// How many receivers that found no buffer are to ask again in a turn. A buffer that is filled
/// piece by piece serves hundreds of small messages, or one large one: which it is shows in how
/// many were served in the last turn, and how many buffers the kernel has used up for that.
class Ration {
public:
    /// Begins a turn: returns how many may ask, at least one for each of the kernel's `buffers`.
    /// `used` is how many it has used up since those of the last turn have asked.
    [[nodiscard]] inline std::uint64_t begin_turn(std::uint32_t buffers,
                                                  std::uint32_t used) noexcept {
        const std::uint32_t fed = std::exchange(fed_, 0);
        const std::uint32_t served = fed - std::min(fed, std::exchange(starved_, 0));
        if (fed == 0)
            each_ = 1;
        else if (used == 0)  // more than so many fit into one
            each_ *= 2;
        else
            each_ = served / used;
        each_ = std::clamp(each_, std::uint32_t{1}, most_each);
        return std::uint64_t{buffers} * each_;
    }
    /// One of those has asked.
    inline void feed() noexcept { ++fed_; }
    /// Somebody, one of those or another, has found no buffer.
    inline void starve() noexcept { ++starved_; }

private:
    static constexpr std::uint32_t most_each = 1U << 16;
    std::uint32_t each_ = 1;     ///< receivers for a buffer
    std::uint32_t fed_ = 0;      ///< in the last turn
    std::uint32_t starved_ = 0;  ///< since then
};

}  // namespace ringfort::uring
