/// Tries to destroy what something else still waits for or runs in. Each attempt ends the process
/// with a message that says what was destroyed; what cannot even be written down is not here:
/// tasks, scopes, events, timers and operations have no copy, and most no move.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;

#include "death.h"
#include "drive.h"

using namespace ringfort;
using coro::Task;

static_assert(!std::is_move_constructible_v<coro::Scope>);
static_assert(!std::is_move_constructible_v<coro::Event>);
static_assert(!std::is_move_constructible_v<coro::Semaphore>);
static_assert(!std::is_move_constructible_v<coro::Mutex>);
static_assert(!std::is_move_constructible_v<coro::Channel<int>>);
static_assert(!std::is_move_constructible_v<coro::Sequence<int>>);
static_assert(!std::is_move_constructible_v<coro::CancelSource>);
static_assert(!std::is_move_constructible_v<coro::Timer>);
static_assert(!std::is_move_constructible_v<coro::TimerQueue>);
static_assert(!std::is_move_constructible_v<coro::Scheduler>);
static_assert(!std::is_move_constructible_v<decltype(coro::sleep_for(Milliseconds{1}))>);
static_assert(!std::is_move_constructible_v<decltype(std::declval<coro::Event&>().wait())>);
static_assert(!std::is_copy_constructible_v<coro::Permit>);

namespace {

Task<> wait_for(coro::Event& event) {
    (void)co_await event.wait();
}

template <class A>
Task<> await_one(A make) {
    (void)co_await make();
}

/// Begins to await what `make` returns, and leaves it there for ever.
template <class A>
void begin(coro::Scheduler& scheduler, A make) {
    auto* running = new testing::Running<void>{scheduler, await_one(std::move(make))};
    static std::vector<testing::Running<void>*> kept;
    kept.push_back(running);
}

}  // namespace

TEST_CASE("what a task waits for cannot be destroyed") {
    struct Attempt {
        std::string message;
        std::function<void()> body;
    };
    const Attempt attempt =
        GENERATE(Attempt{"an event was destroyed with a task waiting",
                         [] {
                             coro::Scheduler scheduler;
                             coro::Event event;
                             begin(scheduler, [&] { return event.wait(); });
                         }},
                 Attempt{"a semaphore was destroyed with a task waiting",
                         [] {
                             coro::Scheduler scheduler;
                             auto semaphore = std::make_unique<coro::Semaphore>(1);
                             auto held = semaphore->try_acquire();
                             begin(scheduler, [&] { return semaphore->acquire(); });
                             semaphore.reset();
                         }},
                 Attempt{"a semaphore was destroyed with permits held",
                         [] {
                             auto semaphore = std::make_unique<coro::Semaphore>(1);
                             auto held = semaphore->try_acquire();
                             semaphore.reset();
                         }},
                 Attempt{"a mutex was destroyed while it was locked",
                         [] {
                             auto mutex = std::make_unique<coro::Mutex>();
                             auto held = mutex->try_lock();
                             mutex.reset();
                         }},
                 Attempt{"a channel was destroyed with a task waiting",
                         [] {
                             coro::Scheduler scheduler;
                             coro::Channel<int> channel{1};
                             begin(scheduler, [&] { return channel.receive(); });
                         }},
                 Attempt{"a sequence was destroyed with a task waiting",
                         [] {
                             coro::Scheduler scheduler;
                             coro::Sequence<int> sequence;
                             begin(scheduler, [&] { return sequence.next(); });
                         }},
                 Attempt{"a scope was destroyed with tasks running",
                         [] {
                             coro::Scheduler scheduler;
                             coro::Event event;
                             const coro::Scope made{coro::Context{.scheduler = &scheduler}};
                             coro::Scope scope{coro::Context{.scheduler = &scheduler}};
                             scope.spawn(wait_for(event));
                             scheduler.run();
                         }},
                 Attempt{"a timer queue was destroyed with timers armed",
                         [] {
                             coro::Scheduler scheduler;
                             begin(scheduler, [] { return coro::sleep_for(Milliseconds{5}); });
                         }},
                 Attempt{"a scheduler was destroyed with tasks that may go on", [] {
                             coro::Event event;
                             coro::Scheduler scheduler;
                             begin(scheduler, [&] { return event.wait(); });
                             event.set();
                         }});
    CAPTURE(attempt.message);
    CHECK(testing::death_of(attempt.body).find(attempt.message) != std::string::npos);
}

TEST_CASE("a task cannot be destroyed while it waits, however deep") {
    const auto text = testing::death_of([] {
        coro::Scheduler scheduler;
        coro::Event event;
        auto outer = [](coro::Event& signal) -> Task<> { co_await wait_for(signal); };
        testing::Running running{scheduler, outer(event)};
    });
    CHECK(text.find("destroyed") != std::string::npos);
}

TEST_CASE("a frame that is destroyed by its handle while it waits ends the process") {
    const auto destroy = [](auto make) {
        return testing::death_of([&] {
            coro::Scheduler scheduler;
            struct Raw {
                struct promise_type : coro::Promise {
                    Raw get_return_object() {
                        return {std::coroutine_handle<promise_type>::from_promise(*this)};
                    }
                    std::suspend_always initial_suspend() noexcept { return {}; }
                    std::suspend_always final_suspend() noexcept { return {}; }
                    void return_void() {}
                    void unhandled_exception() {}
                };
                std::coroutine_handle<promise_type> frame;
            };
            auto body = [](auto& made) -> Raw { (void)co_await made(); };
            Raw raw = body(make);
            raw.frame.promise().context() = {.scheduler = &scheduler};
            raw.frame.resume();
            raw.frame.destroy();
        });
    };
    coro::Event event;
    coro::Event set;
    set.set();
    CHECK(destroy([&] { return event.wait(); }).find("a task that waits was destroyed") !=
          std::string::npos);
    CHECK(destroy([] {
              return coro::sleep_for(Milliseconds{5});
          }).find("a task that sleeps was destroyed") != std::string::npos);
    CHECK(destroy([&]() -> Task<> {
              (void)co_await coro::timeout(Milliseconds{5}, event.wait());
          }).find("destroyed") != std::string::npos);
    CHECK(destroy([&]() -> Task<std::size_t> {
              co_return (co_await coro::when_any(wait_for(event))).index();
          }).find("destroyed") != std::string::npos);
}

TEST_CASE("an exception that leaves a spawned task ends the process") {
    CHECK(testing::death_of([] {
              coro::Scheduler scheduler;
              coro::Scope scope{coro::Context{.scheduler = &scheduler}};
              scope.spawn([]() -> Task<> {
                  throw std::runtime_error{"lost"};
                  co_return;
              }());
              scheduler.run();
          }).find("an exception left a task spawned in a scope") != std::string::npos);
}

TEST_CASE("a source that others wait below cannot be destroyed") {
    CHECK(testing::death_of([] {
              coro::Scheduler scheduler;
              coro::Event event;
              auto source = std::make_unique<coro::CancelSource>();
              auto below = [](coro::CancelSource& limit, coro::Event& signal) -> Task<> {
                  co_await wait_for(signal).under(limit);
              };
              auto* running = new testing::Running<void>{scheduler, below(*source, event)};
              (void)running;
              source.reset();
          }).find("destroyed") != std::string::npos);
}
