#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <csignal>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>

#include "../temp_dir.h"

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

std::string contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream{path}.rdbuf();
    return text.str();
}

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

TEST_CASE("lines that were lost are told of in front of the next one") {
    const Restore restore;
    log::configure({});
    log::write_to(Fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
    log::error("what was lost before is told of here");
    log::write_to(Fd{::open("/dev/full", O_WRONLY | O_CLOEXEC)});
    for (int i = 0; i < 3; ++i) log::error("nobody reads this");
    const testing::TempDir dir;
    log::write_to(Fd{::open(dir.file("log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)});
    log::info("first");
    log::info("second");
    std::istringstream lines{contents(dir.file("log"))};
    std::string line;
    REQUIRE(std::getline(lines, line));
    CHECK_THAT(line, EndsWith("] lines lost before this one: 3 (No space left on device)"));
    REQUIRE(std::getline(lines, line));
    CHECK_THAT(line, EndsWith("] first"));
    REQUIRE(std::getline(lines, line));
    CHECK_THAT(line, EndsWith("] second"));
}

TEST_CASE("a line that was cut off by a full disk does not run into the next one") {
    const Restore restore;
    log::configure({});
    const testing::TempDir dir;
    log::write_to(
        Fd{::open(dir.file("log").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)});
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{20, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    log::error("cut off");
    log::error("lost");
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    std::signal(SIGXFSZ, handler);
    log::error("whole");
    const std::string text = contents(dir.file("log"));
    INFO(text);
    CHECK(text.find('\n') == 20);
    CHECK_THAT(text, ContainsSubstring("] lines lost before this one: 2 (File too large)\n"));
    CHECK_THAT(text, EndsWith("] whole\n"));
}

TEST_CASE("standard error follows the target while that is a file, and comes back") {
    const Restore restore;
    const testing::TempDir dir;
    const std::string console = dir.file("console");
    const std::string file = dir.file("log");
    const Fd own{::dup(STDERR_FILENO)};
    const auto open = [](const std::string& path) {
        return Fd{::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
    };
    const auto say = [](const std::string& text) {
        REQUIRE(::write(STDERR_FILENO, text.data(), text.size()) > 0);
    };
    REQUIRE(::dup2(open(console).get(), STDERR_FILENO) == STDERR_FILENO);
    log::take_standard_error();
    say("1");
    log::write_to(open(file));
    say("2");
    CHECK(log::kept_standard_error() > STDERR_FILENO);
    log::write_to(open(file + ".2"));
    say("3");
    log::write_to(Fd{});
    say("4");
    CHECK(log::kept_standard_error() == -1);
    log::write_to(open(file));
    log::let_go_of_standard_error();
    log::write_to(open(file));
    CHECK(log::kept_standard_error() == -1);
    log::write_to(Fd{});
    say("5");
    REQUIRE(::dup2(own.get(), STDERR_FILENO) == STDERR_FILENO);
    CHECK(contents(console) == "14");
    CHECK(contents(file) == "25");
    CHECK(contents(file + ".2") == "3");
}
