#include "roster.hpp"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

using bench::Entry;
using bench::Kind;

namespace {

namespace fs = std::filesystem;

/// A build directory with a list of contestants and nothing else, gone with the test.
class FakeBuild {
public:
    explicit FakeBuild(const std::string& list)
        : path_{"bench-roster-test-" + std::to_string(::getpid())} {
        fs::create_directories(path_ / "tests/bench/contestants");
        std::ofstream{path_ / "tests/bench/contestants/contestants.txt"} << list;
    }
    ~FakeBuild() { fs::remove_all(path_); }
    FakeBuild(const FakeBuild&) = delete;
    FakeBuild& operator=(const FakeBuild&) = delete;
    [[nodiscard]] bench::Site site() const {
        bench::Site site;
        site.build = path_.string();
        site.directory = path_.string();
        site.upstream_port = 4321;
        return site;
    }

private:
    fs::path path_;
};

Entry find(const std::vector<Entry>& entries, Kind kind, const std::string& name) {
    const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
        return entry.kind == kind && entry.name == name;
    });
    REQUIRE(found != entries.end());
    return *found;
}

}  // namespace

TEST_CASE("contestants are those that the build lists, with their ports filled in") {
    const FakeBuild build(
        "echo|asio|/bin/sh|@PORT@|coroutines\nrelay|splice|/bin/sh|@PORT@|@UPSTREAM_PORT@\n");
    const auto entries = bench::roster(build.site());
    const auto echo = bench::launch_of(find(entries, Kind::echo, "asio"), build.site());
    REQUIRE(echo.has_value());
    CHECK(echo->command == std::vector<std::string>{"/bin/sh", "0", "coroutines"});
    const auto relay = bench::launch_of(find(entries, Kind::relay, "splice"), build.site());
    REQUIRE(relay.has_value());
    CHECK(relay->command == std::vector<std::string>{"/bin/sh", "0", "4321"});
}

TEST_CASE("ours is told how many workers to have and which driver to use") {
    const FakeBuild build("");
    bench::Site site = build.site();
    fs::create_directories(fs::path{site.build} / "apps/echo");
    fs::create_symlink("/bin/sh", fs::path{site.build} / "apps/echo/echo");
    site.workers = 4;
    const auto launch = bench::launch_of(find(bench::roster(site), Kind::echo, "ringfort"), site);
    REQUIRE(launch.has_value());
    std::ifstream file{launch->command.back()};
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    CHECK(text.find("workers = 4\n") != text.npos);
    CHECK(text.find("driver = \"io_uring\"\n") != text.npos);
}

TEST_CASE("a contestant that is not built or not listed is known, but cannot be started") {
    const FakeBuild build("echo|uring|/no/such/program|@PORT@\n");
    const auto entries = bench::roster(build.site());
    CHECK_FALSE(bench::launch_of(find(entries, Kind::echo, "uring"), build.site()).has_value());
    CHECK_FALSE(bench::launch_of(find(entries, Kind::relay, "nginx"), build.site()).has_value());
    CHECK_FALSE(bench::launch_of(find(entries, Kind::echo, "ringfort"), build.site()).has_value());
}
