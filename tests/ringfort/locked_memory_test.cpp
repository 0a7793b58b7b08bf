// Part of the module, to see what it keeps to itself: the check before anything is started.
module;
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
module ringfort;

import ringfort.base;

using namespace ringfort;

namespace {

constexpr std::uint64_t kib = 1'024;

}  // namespace

TEST_CASE("locked memory suffices when the rings of two generations fit, to the byte") {
    const LockedMemory memory{
        .workers = 4, .ring_bytes = 212 * kib, .limit_bytes = 2 * 4 * 212 * kib};
    CHECK_FALSE(shortage_of(memory));
    LockedMemory less = memory;
    --less.limit_bytes;
    CHECK(shortage_of(less));
    LockedMemory more = memory;
    ++more.workers;
    CHECK(shortage_of(more));
}

TEST_CASE("a shortage of locked memory is told with the need, the limit and the remedies") {
    const auto said = shortage_of({.workers = 4, .ring_bytes = 256 * kib, .limit_bytes = 64 * kib});
    REQUIRE(said);
    INFO(*said);
    CHECK(
        said->starts_with("4 workers and a reload beside them need 2MiB of locked memory; "
                          "RLIMIT_MEMLOCK is 64KiB"));
    for (const char* remedy :
         {"ulimit -l", "LimitMEMLOCK=", "master.workers", "worker.ring_completions",
          "worker.connections", "CAP_IPC_LOCK", "master.user"})
        CHECK(said->find(remedy) != std::string::npos);
}

TEST_CASE("no limit of locked memory is enough for any number of workers") {
    CHECK_FALSE(shortage_of({.workers = 100'000,
                             .ring_bytes = 4 * kib * kib,
                             .limit_bytes = std::numeric_limits<std::uint64_t>::max()}));
}
