module;
#include <coroutine>
#include <cstddef>
#include <exception>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

/// The outermost frame of a spawned task: owns it, queues its start, tells the scope of its end.
struct Scope::Child {
    struct promise_type : Promise {
        promise_type(Scope& scope, Task<void>&) noexcept : owner{scope} {}
        Child get_return_object() noexcept { return {*this}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        auto final_suspend() noexcept {
            struct Leave {
                bool await_ready() noexcept { return false; }
                void await_suspend(std::coroutine_handle<promise_type> frame) noexcept {
                    Scope& scope = frame.promise().owner;
                    frame.destroy();
                    scope.finished();
                }
                void await_resume() noexcept {}
            };
            return Leave{};
        }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {
            panic("an exception left a task spawned in a scope");
        }

        Scope& owner;
        Resumption start;
    };
    promise_type& promise;
};

Scope::Scope(const Context& parent) noexcept : Scope{parent, parent.label} {}

Scope::Scope(const Context& parent, const Label* label) noexcept
    : cancel_{parent.cancel}, context_{parent.scheduler, &cancel_, label} {}

Scope::~Scope() {
    ensure(running_ == 0, "a scope was destroyed with tasks running");
}

Scope::Child Scope::drive(Task<void> task) {
    co_await std::move(task);
}

void Scope::spawn(Task<void> task) {
    Child::promise_type& promise = drive(std::move(task)).promise;
    promise.context() = context_;
    promise.start.prepare(std::coroutine_handle<Child::promise_type>::from_promise(promise),
                          context_);
    ++running_;
    context_.scheduler->push(promise.start);
}

void Scope::finished() noexcept {
    if (--running_ == 0 && std::exchange(joining_, false)) context_.scheduler->push(joiner_);
}

void Scope::wait(std::coroutine_handle<> joining, const Context& context) noexcept {
    ensure(!joining_, "two tasks join one scope");
    joining_ = true;
    joiner_.prepare(joining, context);
}

}  // namespace ringfort::coro
