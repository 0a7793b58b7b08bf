export module ringfort.uring:crowd;

import ringfort.base;
import ringfort.std;

export namespace ringfort::uring {

/// How many sockets have brought large pieces in a turn, of late. Of a single one, what is received
/// is still in the cache when the turn's end sends it; of more it is less and less so, and then it
/// pays to receive and send for one after another, with calls of their own.
class Crowd {
public:
    /// Makes one that is a crowd from about `size` sockets in a turn on. With 0 it always is; with
    /// 1 it is from the first few turns in which one brings something.
    inline explicit Crowd(std::uint32_t size) noexcept
        : size_{static_cast<float>(size)}, crowded_{size == 0} {}

    /// A socket has brought something; it counts once in a turn. `turn` is its note of that, 0 at
    /// first: one that happens to be right after 256 turns costs no more than that count.
    inline void join(std::uint8_t& turn) noexcept {
        if (std::exchange(turn, turn_) != turn_) ++in_turn_;
    }
    /// Ends a turn. One in which nobody has brought anything says nothing. Of one with many only
    /// twice the size counts, so that the way back is not long.
    inline void end_turn() noexcept {
        ++turn_;
        if (in_turn_ == 0) return;
        const float count = std::min(static_cast<float>(std::exchange(in_turn_, 0)), 2 * size_);
        average_ += (count - average_) / limits::direct_turns;
        crowded_ = average_ >= size_ * (crowded_ ? leave : enter);
    }
    /// Tells whether it is one: in the mean of about the last `limits::direct_turns` eight tenths
    /// of the size, and since then not less than seven.
    [[nodiscard]] inline bool crowded() const noexcept { return crowded_; }

private:
    // Not all that bring something do so in each turn. The mean itself depends on how they are
    // received from: there are some fewer in a turn when each is received from by itself.
    static constexpr float enter = 0.8F;
    static constexpr float leave = 0.7F;
    float size_;
    float average_ = 0;
    std::uint32_t in_turn_ = 0;
    std::uint8_t turn_ = 1;
    bool crowded_;
};

}  // namespace ringfort::uring
