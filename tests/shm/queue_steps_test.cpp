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

// Who is woken for something that is slept on for a queue, while nobody sleeps in the kernel.
class Wakes {
public:
    Wakes() {
        words.clear();
        waits.clear();
        static constexpr Scheduler scheduler{
            .wait =
                [](std::uint32_t* word, std::uint32_t expected) {
                    waits.push_back({word, expected});
                    return true;
                },
            .wake =
                [](std::uint32_t* word, int most) {
                    REQUIRE(most > 1'000);
                    words.push_back(word);
                    return 0L;
                },
            // A millisecond for each wait.
            .now = [] { return Instant{std::chrono::milliseconds{waits.size()}}; }};
        set_scheduler(&scheduler);
    }
    ~Wakes() { set_scheduler(nullptr); }
    Wakes(const Wakes&) = delete;
    Wakes& operator=(const Wakes&) = delete;

    static inline std::vector<std::uint32_t*> words;
    static inline std::vector<QueueWait> waits;
};

QueueWait wait_for_message(const Queue& queue) {
    Transaction transaction = queue.pool().begin().value();
    const QueueWait wait = queue.wait_for_message(transaction);
    transaction.commit().value();
    return wait;
}

QueueWait wait_for_room(const Queue& queue) {
    Transaction transaction = queue.pool().begin().value();
    const QueueWait wait = queue.wait_for_room(transaction);
    transaction.commit().value();
    return wait;
}

}  // namespace

TEST_CASE("a queue wakes those who sleep for it, once for all, and calls nobody otherwise") {
    steps::Stage stage{4};
    const Queue queue = Queue::create(stage.pool(), 0, Bytes{64}).value();
    const auto message = bytes_of(std::string_view{"one"});
    const Wakes wakes;
    for (int n = 0; n < 3; ++n) queue.push(message).value();
    for (int n = 0; n < 3; ++n) REQUIRE(queue.pop().value());
    REQUIRE_FALSE(queue.pop().value());
    REQUIRE(wakes.words.empty());

    const QueueWait first = wait_for_message(queue);
    const QueueWait second = wait_for_message(queue);
    REQUIRE(first.word == second.word);
    REQUIRE(first.expected == second.expected);
    REQUIRE(*first.word == first.expected);
    queue.push(message).value();
    REQUIRE(*first.word != first.expected);
    REQUIRE(wakes.words == std::vector{first.word});
    queue.push(message).value();
    REQUIRE(wakes.words.size() == 1);
    // Another wait is not the one before.
    REQUIRE(wait_for_message(queue).expected != first.expected);

    const QueueWait room = wait_for_room(queue);
    REQUIRE(room.word != first.word);
    REQUIRE(queue.pop().value());
    REQUIRE(*room.word != room.expected);
    REQUIRE(wakes.words == std::vector{first.word, room.word});
    REQUIRE(queue.pop().value());
    REQUIRE(wakes.words.size() == 2);
}

TEST_CASE("a transaction calls those who sleep for a queue once, however often it has cause to") {
    steps::Stage stage{4};
    const Queue queue = Queue::create(stage.pool(), 0, Bytes{1'024}).value();
    const Wakes wakes;
    Transaction transaction = stage.pool().begin().value();
    QueueWait wait;
    for (int n = 0; n < 40; ++n) {
        wait = queue.wait_for_message(transaction);
        queue.push(transaction, bytes_of(std::string_view{})).value();
    }
    transaction.commit().value();
    REQUIRE(wakes.words == std::vector{wait.word});
}

TEST_CASE("who gives up waiting for a queue has slept until its time, and then nobody sleeps") {
    steps::Stage stage{4};
    const Queue queue = Queue::create(stage.pool(), 0, Bytes{64}).value();
    const std::string large(56, 'x');
    const Wakes wakes;
    REQUIRE(queue.pop_for(Milliseconds{0}).error().is(std::errc::timed_out));
    REQUIRE(wakes.waits.empty());
    REQUIRE(queue.pop_for(Milliseconds{3}).error().is(std::errc::timed_out));
    REQUIRE(wakes.waits.size() == 3);
    for (const QueueWait& wait : wakes.waits) {
        REQUIRE(wait.word == wait_for_message(queue).word);
        REQUIRE(wait.expected == *wait.word);
    }
    queue.push_for(bytes_of(large), Milliseconds{3}).value();
    REQUIRE(wakes.words == std::vector{wakes.waits[0].word});
    REQUIRE(queue.push_for(bytes_of(large), Milliseconds{2}).error().is(std::errc::timed_out));
    REQUIRE(wakes.waits.size() == 5);
    REQUIRE(wakes.waits.back().word == wait_for_room(queue).word);
    REQUIRE(wakes.waits.back().expected == *wakes.waits.back().word);
}

TEST_CASE("a change of a queue that is rolled back wakes nobody, and the next one does") {
    steps::Stage stage{4};
    const Queue queue = Queue::create(stage.pool(), 0, Bytes{64}).value();
    const Wakes wakes;
    const QueueWait wait = wait_for_message(queue);
    {
        Transaction transaction = stage.pool().begin().value();
        queue.push(transaction, bytes_of(std::string_view{"one"})).value();
        queue.push(transaction, bytes_of(std::string_view{"two"})).value();
    }
    REQUIRE(wakes.words.empty());
    REQUIRE(*wait.word == wait.expected);
    {
        Transaction transaction = stage.pool().begin().value();
        queue.push(transaction, bytes_of(std::string_view{"one"})).value();
        Transaction moved{std::move(transaction)};
        REQUIRE(wakes.words.empty());
        moved.commit().value();
    }
    REQUIRE(wakes.words == std::vector{wait.word});
}

TEST_CASE("after a burial all are woken who may sleep for a queue or a shared lock, by whoever") {
    steps::Stage stage{8};
    Pool& keeper = stage.keeper();
    const Queue queue = Queue::create(keeper, 1, Bytes{64}).value();
    const SharedLock lock = SharedLock::create(keeper, 2).value();
    const SharedLock dead = SharedLock::open(stage.pool(), 2).value();
    const ReadGuard reading = dead.lock_shared().value();
    const QueueWait message = wait_for_message(queue);
    const QueueWait room = wait_for_room(queue);
    WriteWaiter writer{lock};
    writer.attempt().value();
    REQUIRE_FALSE(writer.taken());
    static_cast<void>(keeper.bury(0).value());
    const Wakes wakes;
    Healer healer{keeper};
    REQUIRE(healer.step().value() == Healing::through);
    REQUIRE(wakes.words == std::vector{writer.word(), message.word, room.word});
    REQUIRE(*writer.word() != writer.expected());
    REQUIRE(*message.word != message.expected);
    REQUIRE(*room.word != room.expected);
    // Once for each burial, though there may be many parts to come.
    REQUIRE(healer.step().value() == Healing::through);
    REQUIRE(wakes.words.size() == 3);
}

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
