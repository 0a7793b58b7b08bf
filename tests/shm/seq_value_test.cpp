#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <iterator>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;
using namespace std::chrono_literals;

namespace {

using testing::Place;
using testing::place;

struct Triple {
    std::uint64_t one;
    std::uint32_t two;
    std::uint8_t three;

    friend bool operator==(const Triple&, const Triple&) = default;
};

using Many = std::array<std::uint64_t, 40>;

}  // namespace

TEST_CASE("a value is what was stored last, for all who have it open") {
    Place here = place(1 << 16, 4);
    const auto value = SeqValue<Triple>::create(here.pool, 1, {1, 2, 3}).value();
    const Pool other = Pool::attach(here.zone, here.pool.admit(0, {}).value()).value();
    const auto there = SeqValue<Triple>::open(other, 1).value();
    REQUIRE(there.load().value() == Triple{1, 2, 3});
    const Word version = there.version();
    for (std::uint32_t n = 0; n < 10; ++n) {
        value.store({n, n + 1, 7}).value();
        REQUIRE(there.load().value() == Triple{n, n + 1, 7});
        REQUIRE(there.version() == version + n + 1);
    }
    REQUIRE(SeqValue<Many>::open(other, 1).error().is(std::errc::protocol_error));
    REQUIRE(SeqValue<Triple>::open(other, 2).error().is(std::errc::no_such_file_or_directory));
    REQUIRE(SeqValue<Triple>::create(other, 1, {}).error().is(std::errc::file_exists));
}

TEST_CASE("readers see one whole value while writers never pause and are killed") {
    Place here = place(1 << 16, 4);
    const auto value = SeqValue<Many>::create(here.pool, 0, {}).value();
    std::uint64_t seen = 0;
    std::uint64_t last = 0;
    for (int round = 0; round < 40; ++round) {
        const Owner owner = here.pool.admit(0, {}).value();
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const Result<Pool> pool = Pool::attach(here.zone, owner);
            if (!pool) ::_exit(1);
            const auto own = SeqValue<Many>::open(*pool, 0);
            if (!own) ::_exit(2);
            Many many = own->load().value();
            for (;;) {
                many.fill(many[0] + 1);
                if (!own->store(many)) ::_exit(3);
            }
        }
        const Instant end = now() + 20s;
        for (const std::uint64_t enough = seen + 4; seen < enough;) {
            if (now() > end) FAIL("no writer writes");
            const Many many = value.load().value();
            if (std::ranges::count(many, many[0]) != std::ssize(many) || many[0] < last)
                FAIL("torn, or back in time");
            seen += many[0] != last ? 1 : 0;
            last = many[0];
        }
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));
        static_cast<void>(here.pool.bury(0).value());
    }
}
