module;
#include <coroutine>
#include <cstddef>
#include <system_error>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

Scope::Scope(const Context& parent, const ScopeOptions& options) noexcept
    : cancel_{parent.cancel},
      context_{.scheduler = parent.scheduler,
               .cancel = &cancel_,
               .label = options.label != nullptr ? options.label : parent.label},
      limit_{options.limit} {
    ensure(limit_ > 0, "a scope was made that holds no task");
}

Scope::~Scope() {
    ensure(running_ == 0, "a scope was destroyed with tasks running");
    ensure(room_.empty() && !joining_, "a scope was destroyed with a task waiting for it");
}

Result<void> Scope::try_spawn(Task<void> task, const Label* label) noexcept {
    if (!task.made()) return Error{"spawn a task", std::errc::not_enough_memory};
    if (running_ >= limit_ || !room_.empty())
        return Error{"spawn a task", std::errc::resource_unavailable_try_again};
    start(task, label);
    return {};
}

void Scope::watch() noexcept {
    wake_below_ = !room_.empty() ? limit_ : joining_ ? 1 : 0;
}

void Owner::wake() noexcept {
    static_cast<Scope*>(this)->end_waits();
}

void Scope::end_waits() noexcept {
    while (running_ < limit_) {
        auto* waiting = static_cast<Spawn*>(room_.pop_front());
        if (waiting == nullptr) break;
        start(waiting->task_, waiting->label_);
        waiting->wake();
    }
    if (running_ == 0 && std::exchange(joining_, false)) context_.scheduler->push(joiner_);
    watch();
}

void Scope::Join::begin(std::coroutine_handle<> joining, const Context& context) noexcept {
    ensure(!scope_.joining_, "two tasks join one scope");
    scope_.joining_ = true;
    scope_.joiner_.prepare(joining, context);
    scope_.watch();
}

bool Scope::Spawn::begin(std::coroutine_handle<> task, const Context& context) noexcept {
    if (without_memory_) return false;
    if (scope_.running_ < scope_.limit_ && scope_.room_.empty()) {
        scope_.start(task_, label_);
        return pass(task, context);
    }
    const bool waits = wait(task, context, scope_.room_);
    scope_.watch();
    return waits;
}

Result<void> Scope::Spawn::await_resume() noexcept {
    if (resumed_cancelled())
        return Error{"wait for room in a scope", std::errc::operation_canceled};
    if (without_memory_) return Error{"spawn a task", std::errc::not_enough_memory};
    return {};
}

}  // namespace ringfort::coro
