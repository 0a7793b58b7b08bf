export module ringfort.uring:batching;

import ringfort.base;
import ringfort.std;

export namespace ringfort::uring {

/// How many completions a loop waits for, within `limits::batch_wait_us`: of many connections the
/// more have sent something by then, the fewer calls each takes. Three quarters of what the last
/// turns have brought cut off the small batches among them and leave a loop its pace; as many as
/// they have brought have it wait for everybody, and everybody for it.
class Batching {
public:
    /// Takes note of a turn that has brought `completions`.
    inline void end_turn(std::uint32_t completions) noexcept {
        // Bounded, so that many at once do not count for longer than what is waited for.
        constexpr float bound = static_cast<float>(limits::batch_most) / limits::batch_part;
        mean_ += (std::min(static_cast<float>(completions), bound) - mean_) / limits::batch_turns;
    }
    /// Returns how many the next turn is to wait for: one where there are few, and
    /// `limits::batch_most` at most.
    [[nodiscard]] inline std::uint32_t least() const noexcept {
        return mean_ < limits::batch_from ? 1
                                          : static_cast<std::uint32_t>(mean_ * limits::batch_part);
    }

private:
    float mean_ = 0;
};

}  // namespace ringfort::uring
