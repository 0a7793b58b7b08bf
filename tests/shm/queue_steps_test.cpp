#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

// Takes all messages out, in a transaction that is then rolled back.
std::string messages(Pool& pool) {
    const auto queue = Queue::open(pool, 0);
    if (!queue) return "none";
    Transaction transaction = pool.begin().value();
    std::string text;
    while (const auto message = queue->pop(transaction))
        text += value_of<std::string>(*message).value() + '\n';
    return text;
}

}  // namespace

TEST_CASE("a message that a process killed at any store puts in or takes is in or not, whole") {
    std::mt19937 random{8};
    steps::Stage stage{4};
    steps::kill_everywhere(
        stage, [](Pool& pool) { REQUIRE(Queue::create(pool, 0, Bytes{200})); }, messages);
    std::deque<std::string> model;
    for (std::uint32_t n = 0; n < 100 * steps::effort(); ++n) {
        const std::string message(random() % 50, static_cast<char>('a' + n % 26));
        const bool pushing = random() % 2 == 0;
        bool done = false;
        const std::string after =
            steps::kill_everywhere(stage,
                                   [&](Pool& pool) {
                                       const Queue queue = Queue::open(pool, 0).value();
                                       done = pushing ? queue.push(bytes_of(message)).has_value()
                                                      : queue.pop().value().has_value();
                                   },
                                   messages, {.by_waiter = n % 2 == 0});
        if (done && pushing) model.push_back(message);
        if (done && !pushing) model.pop_front();
        std::string expected;
        for (const std::string& each : model) expected += each + '\n';
        REQUIRE(after == expected);
    }
}
