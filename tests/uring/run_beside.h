/// Does something to what a task waits for. Include it behind the modules.
#pragma once
#include <coroutine>
#include <exception>
#include <utility>

namespace testing {

/// Runs `victim`, which waits, and when it does, `deed`.
template <class Deed>
void run_beside(ringfort::uring::Loop& loop, ringfort::coro::Task<> victim, Deed deed) {
    using ringfort::coro::Task;
    auto body = [](ringfort::uring::Loop& on, Task<> first, Deed second) -> Task<> {
        ringfort::coro::Scope scope{co_await ringfort::coro::current_context()};
        scope.spawn(std::move(first));
        (void)co_await on.sleep(ringfort::Milliseconds{5});
        second();
        co_await scope.join();
    };
    loop.run(body(loop, std::move(victim), std::move(deed)));
}

}  // namespace testing
