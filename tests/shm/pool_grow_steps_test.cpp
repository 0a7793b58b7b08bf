// A pool grows, and who makes it grow is killed at every store.
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;

std::function<void()> at_step;

void look_at(const Pool& pool) {
    const Texts map = Texts::open(pool, 2).value();
    REQUIRE(map.size().value() == 20);
    for (int n = 0; n < 20; ++n)
        REQUIRE(map.get(std::to_string(n)).value() ==
                std::string(static_cast<std::size_t>(n), 'v'));
    pool.check().value();
}

Zone copy_of(const Zone& zone) {
    Zone copy = Zone::create(zone.name(), zone.tag(), zone.size()).value();
    std::memcpy(copy.payload().data(), zone.payload().data(), zone.payload().size());
    return copy;
}

}  // namespace

TEST_CASE(
    "a growth that is killed at any store leaves the old pool and no new one, or has happened") {
    steps::Stage stage{20};
    const Texts map = Texts::create(stage.pool(), 2, {.buckets = 4}).value();
    for (int n = 0; n < 20; ++n)
        map.put(std::to_string(n), std::string(static_cast<std::size_t>(n), 'v')).value();
    Zone larger = Zone::create("larger", "pool/1", Pool::zone_size(3, Bytes{40 * 4'096})).value();
    std::uint32_t kills = 0;
    at_step = [&] {
        set_step_hook(nullptr);
        ++kills;
        Zone source = copy_of(stage.zone());
        Zone grown = copy_of(larger);
        const Pool keeper = Pool::keep(source).value();
        static_cast<void>(keeper.bury(0).value());
        look_at(keeper);
        // Nothing of it counts; it is done again.
        REQUIRE(Pool::attach(grown, stage.pool().self()).error().is(std::errc::bad_message));
        const Pool again = Pool::grow(keeper, grown).value();
        look_at(again);
        REQUIRE(again.statistics().value().pages == 40);
        set_step_hook([] { at_step(); });
    };
    set_step_hook([] { at_step(); });
    const Result<Pool> pool = Pool::grow(stage.pool(), larger);
    set_step_hook(nullptr);
    look_at(pool.value());
    look_at(stage.pool());
    REQUIRE(kills > 20);
}
