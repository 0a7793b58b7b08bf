#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.shm;

#include "place.h"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

enum class Metric : std::uint8_t { accepted, active, bytes, count };
enum class Fewer : std::uint8_t { accepted, count };
using Metrics = CountersOf<Metric>;

Zone zone_of(Bytes size) {
    return Zone::create("metrics", "counters/1", size).value();
}

Zone attached(const Zone& zone) {
    Fd copy{::fcntl(zone.fd(), F_DUPFD_CLOEXEC, 0)};
    return Zone::attach(std::move(copy), zone.name(), zone.tag()).value();
}

// Runs `body` in a child and returns the wait status of its end.
template <class Body>
int status_of_child(Body body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        body();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return status;
}

// A child that breaks an invariant must not write a core file or its message into the test's log.
template <class Body>
bool aborts(Body body) {
    const int status = status_of_child([&] {
        ::signal(SIGABRT, SIG_DFL);
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::close(STDERR_FILENO);
        body();
    });
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace

TEST_CASE("counters count, and are seen through a second mapping") {
    Zone zone = zone_of(Metrics::zone_size(4));
    const Metrics here = Metrics::format(zone, 4).value();
    Zone other = attached(zone);
    const Metrics there = Metrics::attach(other).value();
    REQUIRE(there.slots() == 4);
    for (std::uint32_t slot = 0; slot < 4; ++slot) REQUIRE(there.get(slot, Metric::bytes) == 0);
    here.add(0, Metric::accepted);
    here.add(0, Metric::accepted, 41);
    here.add(3, Metric::accepted, 100);
    here.set(1, Metric::active, 7);
    here.subtract(1, Metric::active, 2);
    there.add(2, Metric::bytes, ~0ULL);
    REQUIRE(there.get(0, Metric::accepted) == 42);
    REQUIRE(there.sum(Metric::accepted) == 142);
    REQUIRE(there.get(1, Metric::active) == 5);
    REQUIRE(here.get(2, Metric::bytes) == ~0ULL);
    REQUIRE(here.sum(Metric::active) == 5);
}

TEST_CASE("what a killed worker counted stays counted, and its successor counts on") {
    Zone zone = zone_of(Metrics::zone_size(2));
    const Metrics metrics = Metrics::format(zone, 2).value();
    for (std::uint64_t round = 1; round <= 2; ++round) {
        const int status = status_of_child([&] {
            Zone own = attached(zone);
            const Metrics mine = Metrics::attach(own).value();
            for (int time = 0; time < 100'000; ++time) mine.add(1, Metric::accepted);
            ::raise(SIGKILL);
        });
        REQUIRE(WIFSIGNALED(status));
        REQUIRE(WTERMSIG(status) == SIGKILL);
        REQUIRE(metrics.get(1, Metric::accepted) == round * 100'000);
        REQUIRE(metrics.sum(Metric::accepted) == round * 100'000);
    }
    REQUIRE(metrics.sum(Metric::bytes) == 0);
}

TEST_CASE("a counter read while its worker counts never goes back") {
    Zone zone = zone_of(Metrics::zone_size(1));
    const Metrics metrics = Metrics::format(zone, 1).value();
    constexpr std::uint64_t last = 200'000;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        for (std::uint64_t value = 0; value < last; ++value) metrics.add(0, Metric::bytes);
        ::_exit(0);
    }
    std::uint64_t seen = 0;
    bool monotonic = true;
    std::optional<int> status;
    while (!status) {
        int ended = 0;
        if (::waitpid(child, &ended, WNOHANG) == child) status = ended;
        const std::uint64_t value = metrics.get(0, Metric::bytes);
        monotonic = monotonic && value >= seen && value <= last;
        seen = value;
    }
    REQUIRE(monotonic);
    REQUIRE(*status == 0);
    REQUIRE(seen == last);
}

TEST_CASE("rows of different workers share no pair of cache lines") {
    Zone zone = zone_of(Counters::zone_size(3, 17));
    const Counters counters = Counters::format(zone, 3, 17).value();
    for (std::uint32_t slot = 0; slot < 3; ++slot) counters.set(slot, 16, 0xabcd'0000 + slot);
    const std::span<std::byte> payload = zone.payload();
    std::size_t found = 0;
    for (std::size_t line = zone_alignment; line < payload.size(); line += zone_alignment) {
        std::uint64_t cell = 0;
        std::memcpy(&cell, payload.data() + line, sizeof cell);
        if (cell >> 16 != 0xabcd) continue;
        // Column 16 begins the second line of its row: rows are two lines, after one of header.
        REQUIRE(line == zone_alignment * (1 + 2 * (cell & 0xffff) + 1));
        ++found;
    }
    REQUIRE(found == 3);
}

TEST_CASE("a zone that is too small or dimensions out of range are refused") {
    const Bytes needed = Counters::zone_size(64, 8);
    REQUIRE(needed > limits::min_zone_size);
    Zone exact = zone_of(needed);
    REQUIRE(Counters::format(exact, 64, 8));
    Zone small = zone_of(Bytes{needed.count - 1});
    REQUIRE(Counters::format(small, 64, 8).error().is(std::errc::no_space_on_device));
    for (const auto& [slots, columns] :
         {std::pair{0U, 1U}, std::pair{1U, 0U}, std::pair{limits::max_counter_rows + 1, 1U},
          std::pair{1U, limits::max_counter_columns + 1}, std::pair{~0U, ~0U}})
        REQUIRE(Counters::format(exact, slots, columns).error().is(std::errc::invalid_argument));
    const std::uint32_t slots = limits::max_counter_rows;
    const std::uint32_t columns = limits::max_counter_columns;
    Zone largest = zone_of(Counters::zone_size(slots, columns));
    const Counters counters = Counters::format(largest, slots, columns).value();
    counters.set(slots - 1, columns - 1, 9);
    REQUIRE(counters.sum(columns - 1) == 9);
}

TEST_CASE("formatting anew sets every counter to zero") {
    Zone zone = zone_of(Metrics::zone_size(2));
    const Metrics metrics = Metrics::format(zone, 2).value();
    metrics.set(1, Metric::bytes, 5);
    REQUIRE(Metrics::attach(zone)->get(1, Metric::bytes) == 5);
    REQUIRE(Metrics::format(zone, 2)->get(1, Metric::bytes) == 0);
}

TEST_CASE("counters do not attach to an unformatted zone or with another number of columns") {
    Zone zone = zone_of(Metrics::zone_size(2));
    REQUIRE(Counters::attach(zone).error().is(std::errc::bad_message));
    REQUIRE(Metrics::format(zone, 2));
    REQUIRE(CountersOf<Fewer>::attach(zone).error().is(std::errc::protocol_error));
}

TEST_CASE("any change of any byte of the counters' header is refused") {
    Zone zone = zone_of(Bytes{1 << 20});  // with room for more slots and columns than there are
    REQUIRE(Counters::format(zone, 8, 8));
    const std::span header = zone.payload().first(zone_alignment);
    for (std::byte& byte : header) {
        for (int bit = 0; bit < 8; ++bit) {
            byte ^= std::byte{1} << bit;
            REQUIRE_FALSE(Counters::attach(zone));
            byte ^= std::byte{1} << bit;
        }
    }
    REQUIRE(Counters::attach(zone));
}

TEST_CASE("random damage to the counters' header is refused") {
    std::mt19937 random{20'260'103};
    Zone zone = zone_of(Bytes{1 << 20});
    REQUIRE(Counters::format(zone, 8, 8));
    const std::span header = zone.payload().first(zone_alignment);
    std::array<std::byte, zone_alignment> intact{};
    std::memcpy(intact.data(), header.data(), intact.size());
    for (int round = 0; round < 20'000; ++round) {
        for (std::size_t left = 1 + random() % 8; left > 0; --left)
            header[random() % header.size()] = static_cast<std::byte>(random());
        const bool same = std::memcmp(header.data(), intact.data(), intact.size()) == 0;
        REQUIRE(Counters::attach(zone).has_value() == same);
        std::memcpy(header.data(), intact.data(), intact.size());
    }
}

TEST_CASE("forged dimensions are refused though their checksum is right") {
    Zone zone = zone_of(Bytes{1 << 20});
    const std::span header = zone.payload().first(zone_alignment);
    const auto forge = [&](std::uint32_t slots, std::uint32_t columns) {
        REQUIRE(Counters::format(zone, 8, 8));
        const std::uint32_t row_bytes = (columns * 8 + 127) / 128 * 128;
        const std::array dimensions{slots, columns, row_bytes};
        std::memcpy(header.data() + 12, dimensions.data(), sizeof dimensions);
        std::memset(header.data() + 24, 0, 8);
        std::uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
        for (const std::byte byte : header)
            hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100'0000'01b3;
        std::memcpy(header.data() + 24, &hash, sizeof hash);
        return Counters::attach(zone);
    };
    REQUIRE(forge(9, 16));
    for (const auto& [slots, columns] :
         {std::pair{0U, 8U}, std::pair{8U, 0U}, std::pair{limits::max_counter_rows + 1, 1U},
          std::pair{1U, limits::max_counter_columns + 1}, std::pair{~0U, ~0U},
          std::pair{limits::max_counter_rows, limits::max_counter_columns}})
        REQUIRE(forge(slots, columns).error().is(std::errc::bad_message));
}

TEST_CASE("damage done after attaching leads no access astray") {
    Zone zone = zone_of(Metrics::zone_size(2));
    const Metrics metrics = Metrics::format(zone, 2).value();
    std::memset(zone.payload().data(), 0xff, zone_alignment);
    metrics.add(1, Metric::active);
    REQUIRE(metrics.slots() == 2);
    REQUIRE(metrics.sum(Metric::active) == 1);
    REQUIRE(aborts([&] { metrics.add(2, Metric::active); }));
}

TEST_CASE("a slot or a column out of range aborts") {
    Zone zone = zone_of(Counters::zone_size(2, 3));
    const Counters counters = Counters::format(zone, 2, 3).value();
    REQUIRE(aborts([&] { counters.add(2, 0); }));
    REQUIRE(aborts([&] { counters.set(0, 3, 1); }));
    REQUIRE(aborts([&] { static_cast<void>(counters.get(~0U, 0)); }));
    REQUIRE(aborts([&] { static_cast<void>(counters.sum(3)); }));
    REQUIRE_FALSE(aborts([&] { counters.add(1, 2); }));
}

TEST_CASE("counters stay valid while their zone moves") {
    Zone zone = zone_of(Metrics::zone_size(1));
    const Metrics metrics = Metrics::format(zone, 1).value();
    Zone moved = std::move(zone);
    metrics.add(0, Metric::accepted, 3);
    REQUIRE(Metrics::attach(moved)->get(0, Metric::accepted) == 3);
}

TEST_CASE("counters in a pool have a row for each owner, and outlive it") {
    const testing::Place here = testing::place(1 << 20, 4);
    auto& zone = const_cast<shm::Zone&>(here.zone);
    const shm::Pool& keeper = here.pool;
    const auto made = shm::Counters::open_or_create(keeper, 3, 17).value();
    CHECK(made.slots() == keeper.rows());
    const shm::Pool first = shm::Pool::attach(zone, keeper.admit(0, {}).value()).value();
    const shm::Pool second = shm::Pool::attach(zone, keeper.admit(1, {}).value()).value();
    for (const shm::Pool* one : {&first, &second}) {
        const auto counters = shm::Counters::open_or_create(*one, 3, 17).value();
        counters.add(one->self().row, 16, 5);
        counters.set(one->self().row, 0, 1);
    }
    CHECK(made.sum(16) == 10);
    CHECK(made.sum(0, keeper.owners()) == 2);
    (void)keeper.bury(1).value();
    CHECK(made.sum(16) == 10);
    CHECK(made.sum(0) == 2);
    CHECK(made.sum(0, keeper.owners()) == 1);
    CHECK(shm::Counters::open_or_create(keeper, 3, 16).error().is(std::errc::protocol_error));
    CHECK(shm::Counters::open_or_create(keeper, 4, 0).error().is(std::errc::invalid_argument));
    const testing::Place small = testing::place(4'096, 4);
    CHECK(shm::Counters::open_or_create(small.pool, 0, 1'024)
              .error()
              .is(std::errc::not_enough_memory));
    const auto histogram =
        shm::Histogram::of(
            shm::Counters::open_or_create(keeper, 5, shm::Histogram::columns).value())
            .value();
    histogram.record(first.self().row, 42);
    CHECK(histogram.count() == 1);
    keeper.check().value();
}
