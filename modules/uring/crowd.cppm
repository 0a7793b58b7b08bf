export module ringfort.uring:crowd;

import ringfort.base;
import ringfort.std;

export namespace ringfort::uring {

/// How many sockets have brought large pieces in a turn, of late. Of one or two, what is received
/// is still in the cache when the turn's end sends it; of more it is not, and then it pays to
/// receive and send for one after another, with calls of their own.
class Crowd {
public:
    /// Makes one that is a crowd from `size` sockets in a turn on; with 0 it always is.
    inline explicit Crowd(std::uint32_t size) noexcept
        : size_{static_cast<float>(size)}, crowded_{size == 0} {}

    /// A socket has brought something; it counts once in a turn. `turn` is its note of that.
    inline void join(std::uint8_t& turn) noexcept {
        if (std::exchange(turn, turn_) != turn_) ++in_turn_;
    }
    /// Ends a turn. One that has brought nothing does not count.
    inline void end_turn() noexcept {
        if (in_turn_ == 0) return;
        average_ += (static_cast<float>(in_turn_) - average_) / limits::direct_turns;
        crowded_ = average_ >= size_ - (crowded_ ? 1.0F : 0.5F);
        in_turn_ = 0;
        ++turn_;
    }
    /// Tells whether it is one: that many in a turn, in the rounded mean of about the last
    /// `limits::direct_turns`, and since then not fewer than one less.
    [[nodiscard]] inline bool crowded() const noexcept { return crowded_; }

private:
    float size_;
    float average_ = 0;
    std::uint32_t in_turn_ = 0;
    std::uint8_t turn_ = 1;  ///< of those that count, from anew after 256
    bool crowded_;
};

}  // namespace ringfort::uring
