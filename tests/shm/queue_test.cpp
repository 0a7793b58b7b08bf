#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using testing::Place;
using testing::place;

std::optional<std::string> pop(const Queue& queue) {
    const auto message = queue.pop().value();
    if (!message) return std::nullopt;
    return value_of<std::string>(*message);
}

}  // namespace

TEST_CASE("messages come out as they went in, in their order, around the ring") {
    const Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{1'001}).value();
    REQUIRE(queue.capacity() == Bytes{1'008});
    std::deque<std::string> model;
    std::mt19937 random{2};
    int refused = 0;
    for (int n = 0; n < 20'000; ++n) {
        if (random() % 2 == 0) {
            const std::string message(random() % (random() % 9 == 0 ? 600 : 60),
                                      static_cast<char>(random()));
            const Result<void> done = queue.push(bytes_of(message));
            std::uint64_t used = 0;
            for (const std::string& each : model) used += 8 + (each.size() + 7) / 8 * 8;
            REQUIRE(queue.used().value() ==
                    Bytes{done ? used + 8 + (message.size() + 7) / 8 * 8 : used});
            REQUIRE(done.has_value() == (used + 8 + (message.size() + 7) / 8 * 8 <= 1'008));
            if (done)
                model.push_back(message);
            else
                REQUIRE(done.error().is(std::errc::no_buffer_space));
            refused += done ? 0 : 1;
        } else {
            const auto message = pop(queue);
            REQUIRE(message.has_value() == !model.empty());
            if (!message) continue;
            REQUIRE(*message == model.front());
            model.pop_front();
        }
    }
    REQUIRE(refused > 100);
}

TEST_CASE("a message that can never fit, and queues of nothing, are refused") {
    const Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{64}).value();
    queue.push(bytes_of(std::string(56, 'x'))).value();
    REQUIRE(queue.push(bytes_of(std::string{})).error().is(std::errc::no_buffer_space));
    REQUIRE(queue.push(bytes_of(std::string(57, 'x'))).error().is(std::errc::message_size));
    REQUIRE(pop(queue) == std::string(56, 'x'));
    REQUIRE_FALSE(pop(queue));
    REQUIRE(Queue::create(here.pool, 1, Bytes{0}).error().is(std::errc::invalid_argument));
    REQUIRE(Queue::create(here.pool, 1, Bytes{1 << 20}).error().is(std::errc::not_enough_memory));
    REQUIRE(Queue::create(here.pool, 0, Bytes{64}).error().is(std::errc::file_exists));
    REQUIRE(Queue::open(here.pool, 1).error().is(std::errc::no_such_file_or_directory));
    REQUIRE(Queue::open(here.pool, 0)->capacity() == Bytes{64});
}

TEST_CASE("each message is taken once, whoever takes it") {
    Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{512}).value();
    constexpr std::uint64_t count = 10'000;
    std::vector<pid_t> children;
    for (std::uint32_t row = 0; row < 2; ++row) {
        const Pool pool = Pool::attach(here.zone, here.pool.admit(row, {}).value()).value();
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const Result<Queue> own = Queue::open(pool, 0);
            if (!own) ::_exit(1);
            for (std::uint64_t n = 0; n < count;)
                if (own->push(bytes_of(n * 2 + row)))
                    ++n;
                else
                    ::sched_yield();
            ::_exit(0);
        }
        children.push_back(child);
    }
    std::uint64_t next[2] = {0, 0};
    for (std::uint64_t got = 0; got < 2 * count;) {
        const auto message = queue.pop().value();
        if (!message) {
            ::sched_yield();
            continue;
        }
        const std::uint64_t number = value_of<std::uint64_t>(*message).value();
        REQUIRE(number / 2 == next[number % 2]++);
        ++got;
    }
    for (const pid_t child : children) {
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(status == 0);
    }
}

TEST_CASE("a message that is taken by a transaction that is rolled back is still there") {
    const Place here = place(1 << 16, 4);
    const Queue queue = Queue::create(here.pool, 0, Bytes{64}).value();
    queue.push(bytes_of(std::string{"one"})).value();
    for (int n = 0; n < 2; ++n) {
        Transaction transaction = here.pool.begin().value();
        REQUIRE(queue.pop(transaction));
        REQUIRE_FALSE(queue.pop(transaction));
    }
    {
        Transaction transaction = here.pool.begin().value();
        queue.push(transaction, bytes_of(std::string{"two"})).value();
    }
    REQUIRE(pop(queue) == "one");
    REQUIRE_FALSE(pop(queue));
}
