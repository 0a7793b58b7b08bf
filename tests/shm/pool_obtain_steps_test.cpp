// Two processes that make the same structure: the second comes at each store of the first.
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

// At a store of the one, once, as long as the one does not hold the lock.
std::uint32_t stores_left = 0;
std::function<void()> other;
const Lock* lock = nullptr;

void come_in_between() {
    if (stores_left == 0 || --stores_left != 0) return;
    if (!lock->try_lock()) {
        stores_left = 1;  // at the next one
        return;
    }
    other();
}

template <class Make>
void race(Make make) {
    for (std::uint32_t store = 1; store < 40; ++store) {
        INFO("store " << store);
        steps::Stage stage{8};
        Pool second = Pool::attach(stage.zone(), stage.keeper().admit(1, {}).value()).value();
        bool first_made = false;
        bool second_made = false;
        bool came = false;
        other = [&] {
            came = true;
            second_made = make(second);
        };
        lock = &second.lock();
        stores_left = store;
        set_step_hook(come_in_between);
        first_made = make(stage.pool());
        set_step_hook(nullptr);
        if (!came) other();
        REQUIRE(first_made != second_made);
        stage.keeper().check().value();
    }
}

template <class T>
bool made(const Result<T>& result) {
    if (!result) REQUIRE(result.error().is(std::errc::file_exists));
    return result.has_value();
}

}  // namespace

TEST_CASE("of two that make a structure at the same time, one does and the other is told") {
    race([](Pool& pool) { return made(Map::create(pool, 0)); });
    race([](Pool& pool) { return made(Cache::create(pool, 0)); });
    race([](Pool& pool) { return made(Queue::create(pool, 0, Bytes{100})); });
    race([](Pool& pool) { return made(SeqValue<std::uint64_t>::create(pool, 0, 7)); });
    race([](Pool& pool) { return made(SharedLock::create(pool, 0)); });
    race([](Pool& pool) { return made(RateLimiter::create(pool, 0)); });
    race([](Pool& pool) { return made(ConnectionLimiter::create(pool, 0)); });
}
