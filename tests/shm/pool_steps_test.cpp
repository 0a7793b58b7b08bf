// Processes are really killed, at a store that a seed chooses. To replay a failure, set
// RINGFORT_SHM_SEED to the seed that it prints.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;
using Model = std::map<std::string, std::string>;

constexpr std::uint32_t rows = 4;

std::uint32_t stores_left = 0;

void count_stores() {
    if (--stores_left == 0) ::kill(::getpid(), SIGKILL);
}

struct Change {
    std::string key;
    std::optional<std::string> value;  // none: erase
};

// Each operation is made by a process of its own, in one of several rows, which may be killed at a
// store of the operation, or of the recovery that it has to begin with.
class Story {
public:
    explicit Story(std::uint32_t seed)
        : random_{seed},
          zone_{Zone::create("story", "pool/1", Pool::zone_size(rows, Bytes{40'000})).value()},
          pool_{Pool::format(zone_, rows).value()},
          map_{Texts::create(pool_, 0, {.buckets = 4}).value()} {
        for (std::uint32_t row = 0; row < rows; ++row) owners_[row] = pool_.admit(row, {}).value();
    }

    void step() {
        const auto row = static_cast<std::uint32_t>(random_() % rows);
        Change change{std::string(1 + random_() % 2, static_cast<char>('a' + random_() % 3)), {}};
        if (random_() % 3 != 0) change.value = std::string(random_() % 200, 'v');
        const bool killed = run(row, change, 1 + random_() % 70);
        std::set<Model> then;
        for (Model model : possible_) {
            if (killed) then.insert(model);
            if (change.value)
                model[change.key] = *change.value;
            else
                model.erase(change.key);
            then.insert(model);
        }
        possible_ = then;
        if (killed) {
            ++kills_;
            // Recovery is the master's, or left to the process that makes the next operation.
            if (random_() % 2 == 0)
                static_cast<void>(pool_.bury(row).value());
            else
                pool_.owners().bury(row);
            owners_[row] = pool_.admit(row, {}).value();
        }
        if (random_() % 2 == 0 || possible_.size() > 64) look();
    }

    void look() {
        Model found;
        Transaction transaction = pool_.begin().value();
        const Map& map = map_.untyped();
        for (std::uint32_t bucket = 0; bucket < map.buckets(); ++bucket)
            map.visit(transaction, bucket, {}, [&](ByteView key, ByteView value) {
                found.emplace(value_of<std::string>(key).value(),
                              value_of<std::string>(value).value());
            });
        REQUIRE(map.size(transaction) == found.size());
        transaction.commit().value();
        pool_.check().value();
        REQUIRE(possible_.contains(found));
        possible_ = {found};
    }

    std::uint32_t kills() const { return kills_; }

private:
    // Returns whether the process was killed.
    bool run(std::uint32_t row, const Change& change, std::uint64_t stores) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const Result<Pool> pool = Pool::attach(zone_, owners_[row]);
            if (!pool) ::_exit(2);
            stores_left = static_cast<std::uint32_t>(stores);
            set_step_hook(count_stores);
            const Result<Texts> map = Texts::open(*pool, 0);
            if (!map) ::_exit(3);
            const bool done = change.value ? map->put(change.key, *change.value).has_value()
                                           : map->erase(change.key).has_value();
            ::_exit(done ? 0 : 4);
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        if (WIFSIGNALED(status)) {
            REQUIRE(WTERMSIG(status) == SIGKILL);
            return true;
        }
        REQUIRE(WEXITSTATUS(status) == 0);
        return false;
    }

    std::mt19937 random_;
    Zone zone_;
    Pool pool_;
    Texts map_;
    std::array<Owner, rows> owners_{};
    std::set<Model> possible_{Model{}};
    std::uint32_t kills_ = 0;
};

}  // namespace

TEST_CASE(
    "operations of processes that are killed at a store that a seed chooses happen or do not") {
    const char* replay = std::getenv("RINGFORT_SHM_SEED");
    const auto first = static_cast<std::uint32_t>(replay == nullptr ? 1 : std::atoi(replay));
    std::uint32_t kills = 0;
    for (std::uint32_t seed = first; seed < first + (replay == nullptr ? 4 * steps::effort() : 1);
         ++seed) {
        INFO("replay with RINGFORT_SHM_SEED=" << seed);
        Story story{seed};
        for (int n = 0; n < 60; ++n) story.step();
        story.look();
        kills += story.kills();
    }
    REQUIRE(kills > 10);
}
