module;
#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

Multishot::~Multishot() {
    ensure(state_ == State::idle, "a request was destroyed that the kernel may answer");
}

void Multishot::submit() noexcept {
    loop_.submit(*this);
}

Request Multishot::request() const noexcept {
    switch (taker_) {
        case Taker::receiver:
            return static_cast<const Receiver*>(this)->request();
        case Taker::sender:
            return static_cast<const Sender*>(this)->request_;
        case Taker::answers:
        case Taker::quick_send:  // which is none
            break;
    }
    return static_cast<const Answers*>(this)->request_;
}

bool Multishot::stop() noexcept {
    switch (state_) {
        case State::without_room:
        case State::without_buffer:
            coro::ListNode<Multishot>::unlink();
            state_ = State::idle;
            return false;
        case State::armed:
            coro::ListNode<Multishot>::unlink();
            state_ = State::stopping;
            loop_.cancel(*this);
            return true;
        case State::stopping:
            return true;
        case State::idle:
            coro::ListNode<Multishot>::unlink();  // a receiver with something to be received
            return false;
    }
    return false;
}

void Multishot::arm_with_buffer(BufferPool& pool) noexcept {
    if (state_ == State::idle) loop_.starved(*this, pool);
}

[[clang::preserve_most]] void Multishot::attach(coro::CancelSource* source) noexcept {
    coro::CancelHook::unlink();
    source_ = source;
    if (source != nullptr) source->attach(*this);
}

/// The source was triggered, or ends.
void Multishot::cancelled() noexcept {
    const coro::CancelSource* const source = std::exchange(source_, nullptr);
    if (!awaited()) return;
    ensure(source->requested(), "a source was destroyed with something to cancel below it");
    waiter_->end(MultishotWait::State::cancelled);
}

/// The timer was armed for this wait or, with an earlier limit, for one before it.
void Multishot::time_passed() noexcept {
    if (!awaited() || waiter_->due_ == Instant::max()) return;
    coro::Scheduler& scheduler = *waiter_->scheduler_;
    if (waiter_->due_ > scheduler.time())
        scheduler.timers().arm(*this, waiter_->due_);
    else
        waiter_->end(MultishotWait::State::timed_out);
}

Error MultishotWait::interruption(Step step) const noexcept {
    return {step,
            state_ == State::timed_out ? std::errc::timed_out : std::errc::operation_canceled};
}

void Loop::submit(Multishot& request) noexcept {
    if (driver_.submit(request.request(), request.tag())) [[likely]] {
        request.state_ = Multishot::State::armed;
        ++receiving_;
    } else {
        request.state_ = Multishot::State::without_room;
        multishots_without_room_.push_back(request);
    }
}

void Loop::cancel(Multishot& request) noexcept {
    if (driver_.cancel(request.tag()))
        stopping_multishots_.push_back(request);
    else
        multishots_without_room_.push_back(request);
}

void Loop::ended(Multishot& request) noexcept {
    --receiving_;
    request.coro::ListNode<Multishot>::unlink();
    request.state_ = Multishot::State::idle;
}

void Loop::starved(Multishot& request, BufferPool& pool) noexcept {
    ++statistics_.starved;
    if (pool.replenish()) return submit(request);
    request.state_ = Multishot::State::without_buffer;
    pool.waiting_.push_back(request);
}

}  // namespace ringfort::uring
