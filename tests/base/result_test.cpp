#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

import ringfort.base;

#include <ringfort/try.h>

using namespace ringfort;

namespace {

Result<int> half(int number) {
    if (number % 2 != 0) return Error{"halve", std::errc::invalid_argument};
    return number / 2;
}

Result<int> quarter(int number) {
    RF_LET(const int once, half(number));
    RF_LET(const int twice, half(once));
    return twice;
}

Result<void> check_even(int number) {
    RF_TRY(half(number));
    return {};
}

}  // namespace

TEST_CASE("a Result holds a value or an error") {
    CHECK(half(4).value() == 2);
    CHECK(half(3).error().is(std::errc::invalid_argument));
    CHECK(half(3).value_or(7) == 7);
    CHECK(Result<void>{}.has_value());
}

TEST_CASE("the macros return early with the error and its place") {
    CHECK(quarter(8).value() == 2);
    REQUIRE_FALSE(quarter(6));
    CHECK(quarter(6).error().where().line() == half(3).error().where().line());
    CHECK(check_even(2));
    CHECK_FALSE(check_even(3));
}

TEST_CASE("a Result carries a type that only moves") {
    Result<std::unique_ptr<int>> result{std::make_unique<int>(5)};
    const std::unique_ptr<int> taken = *std::move(result);
    CHECK(*taken == 5);
}

TEST_CASE("an error says the step and the reason") {
    const Error error{"bind", std::errc::address_in_use};
    CHECK(error.text() == "bind: Address already in use");
}

TEST_CASE("reading the value of a failed Result ends the process") {
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(STDERR_FILENO);
        std::signal(SIGABRT, SIG_DFL);
        ::_exit(half(3).value());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGABRT);
}
