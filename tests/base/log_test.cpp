#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <string>
#include <utility>

import ringfort.base;

using namespace ringfort;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

namespace {

/// Puts the log back as it was.
struct Restore {
    log::Options options = log::options();
    ~Restore() {
        log::configure(options);
        log::identify({});
        log::write_to(Fd{});
    }
};

}  // namespace

TEST_CASE("a text line has level, pid, role, generation, slot and message") {
    const Restore restore;
    log::identify({.role = "worker", .generation = 3, .slot = 1});
    const std::string line = log::line(log::Level::warning, "hello");
    CHECK_THAT(line, ContainsSubstring(" warning "));
    CHECK_THAT(line, EndsWith("[" + std::to_string(::getpid()) + " worker g3 s1] hello"));
}

TEST_CASE("a JSON line escapes what JSON must not hold") {
    const Restore restore;
    log::configure({.level = log::Level::info, .format = log::Format::json});
    log::identify({.role = "worker", .generation = 3, .slot = 1});
    const std::string line = log::line(log::Level::error, "a \"b\" \\ \n \x01 \xc3\xa9");
    CHECK_THAT(line, StartsWith(R"({"time":")"));
    CHECK_THAT(line, ContainsSubstring(R"("level":"error","pid":)" + std::to_string(::getpid())));
    CHECK_THAT(line, ContainsSubstring(R"("role":"worker","generation":3,"slot":1)"));
    CHECK_THAT(line, EndsWith("\"message\":\"a \\\"b\\\" \\\\ \\n \\u0001 \xc3\xa9\"}"));
}

TEST_CASE("a message cannot forge a second line") {
    CHECK(log::line(log::Level::info, "one\ntwo").find('\n') == std::string::npos);
}

TEST_CASE("a line is cut at its limit") {
    const std::string line = log::line(log::Level::info, std::string(100'000, 'x'));
    CHECK(line.size() <= limits::max_log_line_bytes);
    CHECK_THAT(line, EndsWith("..."));
}

TEST_CASE("lines go to the target and those below the level do not") {
    const Restore restore;
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const Fd reader{ends[0]};
    log::write_to(Fd{ends[1]});
    log::configure({.level = log::Level::info, .format = log::Format::text});
    log::debug("hidden {}", 1);
    log::info("shown {}", 2);
    char text[256];
    const auto size = ::read(reader.get(), text, sizeof text);
    REQUIRE(size > 0);
    CHECK_THAT(std::string(text, static_cast<std::size_t>(size)), EndsWith("] shown 2\n"));
}

TEST_CASE("a line that cannot be written is counted") {
    const Restore restore;
    const auto before = log::lost_lines();
    log::write_to(Fd{::open("/dev/full", O_WRONLY | O_CLOEXEC)});
    log::error("nobody reads this");
    CHECK(log::lost_lines() == before + 1);
}
