export module ringfort.uring:ration;

import ringfort.std;

export namespace ringfort::uring {

/// How many receivers that found no buffer are to ask again in a turn. A buffer that is filled
/// piece by piece serves hundreds of small messages, or one large one: which it is shows in how
/// many were fed in the last turn, and how many buffers the kernel has used up since.
class Ration {
public:
    /// Returns how many are to ask now, for `buffers` that the kernel has, after it has used up
    /// `used` in the turn before: at least one each. Counts from 0 after that.
    [[nodiscard]] inline std::uint64_t most(std::uint32_t buffers, std::uint32_t used) noexcept {
        const std::uint32_t fed = std::exchange(fed_, 0);
        if (fed == 0)
            each_ = 1;
        else if (used == 0)  // more than so many fit into one
            each_ = std::min(2 * each_, most_each);
        else
            each_ = std::max(fed / used, std::uint32_t{1});
        return std::uint64_t{buffers} * each_;
    }
    /// One of those has asked.
    inline void feed() noexcept { ++fed_; }

private:
    static constexpr std::uint32_t most_each = 1U << 16;
    std::uint32_t each_ = 1;  ///< receivers for a buffer
    std::uint32_t fed_ = 0;   ///< in the last turn
};

}  // namespace ringfort::uring
