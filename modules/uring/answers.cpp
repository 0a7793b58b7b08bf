module;
#include <linux/io_uring.h>

#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

NextOperation::NextOperation(Answers& answers, Kind kind,
                             std::optional<Milliseconds> limit) noexcept
    : MultishotWait{&answers, limit}, kind_{kind} {}

Answers& NextOperation::answers() const noexcept {
    return static_cast<Answers&>(*request());
}

bool NextOperation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    Answers& from = answers();
    ensure(!from.claimed(), "two tasks await one multishot request");
    if (context.cancelled() && kind_ == Kind::next) return refuse();
    from.paused_ = kind_ == Kind::last;
    if (from.paused_) (void)from.stop();
    if (from.pending() > 0 || (from.paused_ && !from.armed())) return pass(task, context);
    // The end of what was told to end is near, and whoever asks for it wants to know all.
    if (from.paused_) return wait(task, {.scheduler = context.scheduler, .label = context.label});
    from.ask();
    return wait(task, context);
}

Result<std::optional<Answer>> NextOperation::take() noexcept {
    Answers& from = answers();
    if (interrupted()) return interruption(from.step());
    if (from.pending() == 0) return std::optional<Answer>{};
    Answer answer = from.pop();
    if (answer.result < 0) return Error{from.step(), -answer.result};
    return std::optional<Answer>{std::move(answer)};
}

Answers::Answers(Loop& loop, const Request& request, std::size_t bound, BufferPool* pool) noexcept
    : Multishot{loop, Taker::answers}, request_{request}, pool_{pool}, bound_{bound} {}

Answers::~Answers() {
    while (count_ > 0) drop(pop());
}

void Answers::abandon() noexcept {
    ensure(!claimed(), "what a task waits for was abandoned");
    abandoned_ = true;
    while (count_ > 0) drop(pop());
    if (!stop()) {
        delete this;
        return;
    }
    ++loop().abandoned_;
    if (!loop().running_) loop().let_go();
}

void Answers::ask() noexcept {
    failed_ = false;
    arm();
}

void Answers::complete(int result, std::uint32_t flags) noexcept {
    Answer answer{.result = result};
    if ((flags & IORING_CQE_F_BUFFER) != 0)
        answer.lease = pool_->consume(flags, result > 0 ? static_cast<std::size_t>(result) : 0);
    const bool starved = pool_ != nullptr && result == -ENOBUFS;
    const bool silent = starved || result == -ECANCELED || result == -EINTR;
    if (abandoned_)
        drop(std::move(answer));
    else if (!silent)
        push(std::move(answer));
    if ((flags & IORING_CQE_F_MORE) == 0)
        ended(result);
    else if (count_ >= bound_)
        (void)stop();
}

/// The kernel has ended the request: for good, or so that it has to be asked again.
void Answers::ended(int result) noexcept {
    if (abandoned_) {
        --loop().abandoned_;
        delete this;
        return;
    }
    if (paused_) {
        wake();
    } else if (pool_ != nullptr && result == -ENOBUFS) {
        arm_with_buffer(*pool_);
    } else if (awaited() || (!failed_ && count_ < bound_)) {
        ask();
    }
}

void Answers::push(Answer answer) noexcept {
    if (count_ == ring_.size()) {
        std::vector<Answer> larger(ring_.empty() ? 4 : ring_.size() * 2);
        for (std::size_t i = 0; i < count_; ++i)
            larger[i] = std::move(ring_[(head_ + i) & (ring_.size() - 1)]);
        ring_.swap(larger);
        head_ = 0;
    }
    failed_ = answer.result < 0;
    ring_[(head_ + count_) & (ring_.size() - 1)] = std::move(answer);
    ++count_;
    wake();
}

Answer Answers::pop() noexcept {
    Answer answer = std::move(ring_[head_]);
    head_ = (head_ + 1) & (ring_.size() - 1);
    --count_;
    // Told to end because too many waited; they have gone down.
    if (!armed() && !paused_ && !failed_ && !abandoned_ && count_ <= bound_ / 2) ask();
    return answer;
}

void Answers::drop(Answer answer) noexcept {
    if (request_.opcode == Opcode::accept_many && answer.result >= 0) {
        const Fd unwanted{answer.result};
    }
}

}  // namespace ringfort::uring
