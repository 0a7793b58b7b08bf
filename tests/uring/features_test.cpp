/// What an older kernel lacks, and what is told of it.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

using namespace ringfort;
using Catch::Matchers::ContainsSubstring;
using uring::consequences;
using uring::Features;
using uring::features_of;
using uring::Loop;
using uring::RingMode;

namespace {

/// Sets the environment variable, and puts it back as it was.
class Kernel {
public:
    explicit Kernel(const char* version) {
        if (const char* const value = std::getenv(name)) before_ = value;
        ::setenv(name, version, 1);
    }
    Kernel(Kernel&&) = delete;
    ~Kernel() { before_ ? ::setenv(name, before_->c_str(), 1) : ::unsetenv(name); }

private:
    static constexpr const char* name = "RINGFORT_KERNEL";
    std::optional<std::string> before_;
};

/// What is told of a kernel that has all but what `leave_out` takes from it.
template <class LeaveOut>
std::string told_without(LeaveOut leave_out) {
    Features features;
    leave_out(features);
    const auto lacks = consequences(features);
    REQUIRE(lacks.size() == 1);
    CHECK(consequences(uring::common(features, {})) == lacks);
    CHECK(consequences(uring::common({}, features)) == lacks);
    return std::string{lacks.front()};
}

}  // namespace

TEST_CASE(
    "of each feature that is missing it is told what follows, and which kernel has it if it is "
    "that") {
    CHECK(consequences({}).empty());
    CHECK_THAT(told_without([](Features& of) { of.mode = RingMode::deferred; }),
               ContainsSubstring("memory access") && ContainsSubstring("Linux 6.6"));
    CHECK_THAT(told_without([](Features& of) { of.mode = RingMode::cooperative; }),
               ContainsSubstring("CPU per request") && ContainsSubstring("Linux 6.1"));
    CHECK_THAT(told_without([](Features& of) { of.bounded_receives = false; }),
               ContainsSubstring("32 buffers") && ContainsSubstring("Linux 6.17"));
    CHECK_THAT(told_without([](Features& of) { of.minimum_waits = false; }),
               ContainsSubstring("system calls") && ContainsSubstring("Linux 6.12"));
    CHECK_THAT(told_without([](Features& of) { of.instant_accepts = false; }),
               ContainsSubstring("drain later") && ContainsSubstring("Linux 6.10"));
    CHECK_THAT(told_without([](Features& of) { of.incremental_buffers = false; }),
               ContainsSubstring("whole buffer") && ContainsSubstring("Linux 6.12"));
    CHECK_THAT(told_without([](Features& of) { of.futex = false; }),
               ContainsSubstring("shared memory") && ContainsSubstring("Linux 6.7"));
    CHECK_THAT(told_without([](Features& of) { of.registered_ring = false; }),
               ContainsSubstring("not registered") && ContainsSubstring("CPU"));
    CHECK_THAT(told_without([](Features& of) { of.zero_copy = false; }),
               ContainsSubstring("copied") && ContainsSubstring("Linux 6.0"));
}

TEST_CASE("a kernel has what came with it or before") {
    CHECK(consequences(features_of(6, 17)).empty());
    CHECK(consequences(features_of(7, 0)).empty());
    CHECK(consequences(features_of(6, 16)).size() == 1);
    CHECK(consequences(features_of(6, 12)).size() == 1);
    CHECK(consequences(features_of(6, 11)).size() == 3);
    CHECK(consequences(features_of(6, 9)).size() == 4);
    CHECK(consequences(features_of(6, 6)).size() == 5);
    CHECK(features_of(6, 5).mode == RingMode::deferred);
    CHECK(features_of(5, 19).mode == RingMode::cooperative);
    CHECK(features_of(6, 0).zero_copy);
    CHECK_FALSE(features_of(5, 19).zero_copy);
}

TEST_CASE("what two have in common is what either lacks left out") {
    const Features both = uring::common(features_of(6, 12), {.zero_copy = false});
    CHECK(both.incremental_buffers);
    CHECK_FALSE(both.bounded_receives);
    CHECK_FALSE(both.zero_copy);
    CHECK(uring::common({.mode = RingMode::deferred}, {}).mode == RingMode::deferred);
    CHECK(uring::common({}, {.mode = RingMode::cooperative}).mode == RingMode::cooperative);
}

TEST_CASE("a loop does without what the kernel of RINGFORT_KERNEL has not") {
    const Kernel kernel{"6.1"};
    auto loop = Loop::open({.backend = uring::Backend::automatic}).value();
    CHECK(loop->features().mode >= RingMode::deferred);
    CHECK_FALSE(loop->features().bounded_receives);
    CHECK_FALSE(loop->features().instant_accepts);
    CHECK_FALSE(loop->features().incremental_buffers);
    CHECK_FALSE(loop->features().minimum_waits);
    CHECK_FALSE(loop->features().futex);
    if (loop->backend() != uring::Backend::io_uring) return;
    CHECK(loop->shortcomings().size() >= 6);
    CHECK_THAT(loop->shortcomings().front(), ContainsSubstring("io_uring does less here"));
}

TEST_CASE("what is no version of a kernel is as if it were not set") {
    for (const char* const text : {"", "6", "6.", "6.1.2", "six.one", "6.1 ", ".1"}) {
        const Kernel kernel{text};
        INFO(text);
        CHECK(consequences(uring::features_of_environment()).empty());
    }
}
