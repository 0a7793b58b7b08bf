// Owners that wait for messages, and for room, take turns at every store, as a seed decides, and
// are killed there. Sleeps for a queue last until somebody is woken: if one were forgotten,
// everybody would sleep in the end. To replay a failure, set RINGFORT_SHM_SEED to the seed that it
// prints.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "fibers.hpp"
#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

constexpr std::uint32_t owners = 5;
constexpr std::uint32_t producers = 2;
constexpr Milliseconds long_enough{86'400'000};

struct Message {
    std::uint64_t from;
    std::uint64_t number;
};

class World {
public:
    explicit World(std::uint64_t seed)
        : zone_{Zone::create("turns", "pool/1", Pool::zone_size(owners, Bytes{8 * 4'096})).value()},
          keeper_{Pool::format(zone_, owners).value()},
          queue_{Queue::create(keeper_, 0, Bytes{64}).value()},
          fibers_{owners,
                  seed,
                  {.kill = 500},
                  [this](std::uint32_t row) { operate(row); },
                  [this](std::uint32_t row) { bury(row); }} {
        {
            Transaction transaction = keeper_.begin().value();
            words_ = {queue_.wait_for_message(transaction).word,
                      queue_.wait_for_room(transaction).word};
        }
        fibers_.set_endless(
            [this](const std::uint32_t* word) { return word == words_[0] || word == words_[1]; });
        fibers_.set_besides([this] { heal(); });
        for (std::uint32_t row = 0; row < owners; ++row) admit(row);
    }

    fibers::Fibers& fibers() { return fibers_; }
    std::uint64_t taken() const { return taken_; }

private:
    void admit(std::uint32_t row) {
        pools_[row].emplace(Pool::attach(zone_, keeper_.admit(row, {}).value()).value());
    }
    void bury(std::uint32_t row) {
        static_cast<void>(keeper_.bury(row).value());
        healer_.emplace(keeper_);
        if (fibers_.failure().empty()) admit(row);
    }
    // The master goes on with it when the lock is free.
    void heal() {
        if (!healer_) return;
        const Result<Healing> healed = healer_->step();
        fibers_.require(healed.has_value(), "not healed");
        if (!healed) return;
        if (*healed == Healing::through) healer_.reset();
    }

    void operate(std::uint32_t row) {
        const Result<Queue> queue = Queue::open(*pools_[row], 0);
        fibers_.require(queue.has_value(), "not opened");
        row < producers ? put(row, *queue) : take(*queue);
    }
    void put(std::uint32_t row, const Queue& queue) {
        const Message message{row, ++put_[row]};
        const Result<void> done = queue.push_for(bytes_of(message), long_enough);
        fibers_.require(done.has_value(), "not put in");
    }
    void take(const Queue& queue) {
        const Result<std::vector<std::byte>> found = queue.pop_for(long_enough);
        fibers_.require(found.has_value(), "not taken");
        const std::optional<Message> message = value_of<Message>(*found);
        fibers_.require(message && message->from < producers, "another message");
        fibers_.require(message->number <= put_[message->from], "one that was never put in");
        fibers_.require(got_[message->from].insert(message->number).second,
                        "one for the second time");
        ++taken_;
    }

    Zone zone_;
    Pool keeper_;
    Queue queue_;
    fibers::Fibers fibers_;
    std::array<const std::uint32_t*, 2> words_{};
    std::array<std::optional<Pool>, owners> pools_;
    std::optional<Healer> healer_;
    std::array<std::uint64_t, producers> put_{};
    std::array<std::set<std::uint64_t>, producers> got_;
    std::uint64_t taken_ = 0;
};

}  // namespace

TEST_CASE("whoever is killed at any store, nobody sleeps for a queue for good") {
    std::uint64_t taken = 0;
    const auto all = fibers::run_worlds<World>(20 * steps::effort(), 50'000,
                                               [&](World& world) { taken += world.taken(); });
    INFO(all.kills << " kills, " << all.sleeps << " sleeps, " << taken << " messages");
    CHECK(all.kills > all.worlds * 10);
    CHECK(all.sleeps > all.worlds * 100);
    CHECK(taken > all.worlds * 100);
}
