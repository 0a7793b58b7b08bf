module;
#include <coroutine>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

Waiter::Waiter() noexcept
    : CancelHook{
          [](CancelHook& hook) noexcept { static_cast<Waiter&>(hook).queue(State::cancelled); }} {}

Waiter::~Waiter() {
    ensure(scheduler_ == nullptr, "a task that waits was destroyed");
}

bool Waiter::wait(std::coroutine_handle<> task, const Context& context,
                  List<Waiter>& list) noexcept {
    if (context.cancelled()) {
        state_ = State::cancelled;
        return false;
    }
    scheduler_ = context.scheduler;
    state_ = State::waiting;
    resumption_.prepare(task, context);
    list.push_back(*this);
    if (context.cancel != nullptr) context.cancel->attach(*this);
    return true;
}

bool Waiter::pass(std::coroutine_handle<> task, const Context& context) noexcept {
    if (context.scheduler->spend()) return false;
    scheduler_ = context.scheduler;
    resumption_.prepare(task, context);
    queue(State::queued);
    return true;
}

void Waiter::wake() noexcept {
    queue(State::queued);
}

void Waiter::queue(State state) noexcept {
    state_ = state;
    ListNode<Waiter>::unlink();
    CancelHook::unlink();
    scheduler_->push(resumption_);
}

bool Waiter::resumed_cancelled() noexcept {
    scheduler_ = nullptr;
    return std::exchange(state_, State::idle) == State::cancelled;
}

}  // namespace ringfort::coro
