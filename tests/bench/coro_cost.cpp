// bench_coro: what a task call, a resume and a spawn cost, in nanoseconds, without a ring.
// usage: bench_coro [--plain]     --plain: "name least median" lines for programs
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

import ringfort.coro;

namespace {

namespace coro = ringfort::coro;
using Clock = std::chrono::steady_clock;

constexpr std::size_t batches = 200;
constexpr std::size_t per_batch = 20'000;
constexpr std::size_t children = 1'000;  // of a scope, at a time

std::uint64_t counter = 0;

/// Makes the compiler believe that somebody reads and changes the counter here.
void touch() {
    asm volatile("" : "+m"(counter) : : "memory");
}

/// Not inlined and not elided: what a call across modules costs.
[[gnu::noinline]] coro::Task<std::uint64_t> add(std::uint64_t amount) {
    touch();
    co_return counter + amount;
}

coro::Task<void> call_many() {
    for (std::size_t i = 0; i < per_batch; ++i) counter = co_await add(1);
}

/// Goes to the end of the ready queue and lets everything before it run.
struct Yield {
    coro::Resumption resumption{};
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <coro::TaskPromise P>
    void await_suspend(std::coroutine_handle<P> task) noexcept {
        const coro::Context& context = task.promise().context();
        resumption.prepare(task, context);
        context.scheduler->push(resumption);
    }
    void await_resume() const noexcept {}
};

coro::Task<void> resume_many() {
    for (std::size_t i = 0; i < per_batch; ++i) {
        co_await Yield{};
        touch();
    }
}

[[gnu::noinline]] coro::Task<void> child() {
    touch();
    co_return;
}

coro::Task<void> spawn_many() {
    for (std::size_t i = 0; i < per_batch / children; ++i) {
        coro::Scope scope{co_await coro::current_context()};
        for (std::size_t n = 0; n < children; ++n) scope.spawn(child());
        co_await scope.join();
    }
}

/// Runs a task on a ready queue of its own until nothing is left to resume.
void run(coro::Task<void> task) {
    coro::Scheduler scheduler;
    coro::Scope scope{coro::Context{.scheduler = &scheduler}};
    scope.spawn(std::move(task));
    while (!scheduler.empty()) scheduler.run();
}

struct Cost {
    double least_ns;
    double median_ns;
};

Cost measure(coro::Task<void> (*work)()) {
    std::vector<double> costs;
    run(work());  // the first one pays for memory
    for (std::size_t batch = 0; batch < batches; ++batch) {
        const auto begin = Clock::now();
        run(work());
        const std::chrono::duration<double, std::nano> took = Clock::now() - begin;
        costs.push_back(took.count() / per_batch);
    }
    std::sort(costs.begin(), costs.end());
    return {costs.front(), costs[costs.size() / 2]};
}

}  // namespace

int main(int argc, char** argv) {
    const bool plain = argc == 2 && std::string_view{argv[1]} == "--plain";
    if (!plain) fmt::print("| cost | least ns | median ns |\n|---|---|---|\n");
    const auto show = [plain](std::string_view name, std::string_view text, Cost cost) {
        if (plain)
            fmt::print("{} {:.2f} {:.2f}\n", name, cost.least_ns, cost.median_ns);
        else
            fmt::print("| {} | {:.1f} | {:.1f} |\n", text, cost.least_ns, cost.median_ns);
    };
    show("call", "task call: frame, start, value, end", measure(call_many));
    show("resume", "resume through the ready queue", measure(resume_many));
    show("spawn", "child of a scope: spawn, run, end", measure(spawn_many));
    return 0;
}
