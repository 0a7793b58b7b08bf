#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

import ringfort.base;
import ringfort.shm;

#include "children.h"
#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;

using testing::Place;
using testing::place;

}  // namespace

TEST_CASE("a key is read while the lock is held by somebody who has changed nothing") {
    const Place here = place();
    const Texts map = Texts::create(here.pool, 0).value();
    map.put("key", "value").value();
    Transaction transaction = here.pool.begin().value();
    REQUIRE(map.get("key").value() == "value");
    REQUIRE_FALSE(map.get("other").value().has_value());
    // The same owner asks for the lock again, so it is told that it would wait for itself.
    map.put(transaction, "key", "other").value();
    REQUIRE(map.get("key").error().is(std::errc::resource_deadlock_would_occur));
    transaction.commit().value();
    REQUIRE(map.get("key").value() == "other");
}

TEST_CASE("who has been buried reads nothing, nor does anybody read a corrupted pool") {
    Place here = place();
    const Texts map = Texts::create(here.pool, 0).value();
    map.put("key", "value").value();
    const Pool dying = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    const Texts own = Texts::open(dying, 0).value();
    REQUIRE(own.get("key").value() == "value");
    static_cast<void>(here.pool.bury(0).value());
    REQUIRE(own.get("key").error().is(std::errc::owner_dead));
    static_cast<void>(here.pool.admit(0, {}).value());
    REQUIRE(own.get("key").error().is(std::errc::owner_dead));

    Transaction transaction = here.pool.begin().value();
    transaction.fail();
    REQUIRE_FALSE(transaction.commit());
    REQUIRE(map.get("key").error().is(std::errc::bad_message));
}

TEST_CASE("what one process reads while another one changes it is never half of each") {
    Place here = place();
    const Texts map = Texts::create(here.pool, 0, {.buckets = 2}).value();
    const auto text = [](std::uint64_t n) {
        return std::string(1 + n * 37 % 300, char('a' + n % 26));
    };
    map.put("key", text(0)).value();
    map.put("stays", "value").value();
    const Owner writer = here.pool.admit(0, {}).value();
    const pid_t child = testing::start([&] {
        const Pool pool = Pool::attach(here.zone, writer).value();
        const Texts own = Texts::open(pool, 0).value();
        for (std::uint64_t n = 1; n < 100'000; ++n) {
            own.put("key", text(n)).value();
            if (n % 3 == 0) static_cast<void>(own.erase("key").value());
        }
    });
    for (int n = 0; n < 200'000; ++n) {
        const std::optional<std::string> found = map.get("key").value();
        if (found) {
            const bool whole = found->find_first_not_of(found->front()) == std::string::npos;
            if (!whole) FAIL("read " << *found);
        }
        if (n % 16 == 0) REQUIRE(map.get("stays").value() == "value");
    }
    REQUIRE(testing::end_of(child) == 0);
}
