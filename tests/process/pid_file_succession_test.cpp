// Pid files that pass from one process to another.
#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "../temp_dir.h"
#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;
namespace fs = std::filesystem;

struct Directory : testing::TempDir {
    [[nodiscard]] std::string file() const { return TempDir::file("master.pid"); }
};

TEST_CASE("a pid file made for another process is that one's, once it is adopted") {
    const Directory directory;
    const pid_t other = ::getppid();
    auto made = PidFile::create(directory.file(), other);
    REQUIRE(made);
    CHECK(read_pid(directory.file()).value() == other);
    auto adopted = PidFile::adopt(directory.file(), made->file().duplicate().value());
    REQUIRE(adopted);
    made->release();
    CHECK(fs::exists(directory.file()));
    CHECK(running_pid(directory.file()).value() == other);  // still locked
    CHECK_FALSE(PidFile::create(directory.file()));
    adopted = Error{"gone", EINVAL};
    CHECK_FALSE(fs::exists(directory.file()));
}

TEST_CASE("only a regular file is adopted as a pid file") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd other{ends[1]};
    CHECK_FALSE(PidFile::adopt("/tmp/pid", Fd{ends[0]}));
}

TEST_CASE("a successor's pid file is beside the old one until it takes its place") {
    const Directory directory;
    auto old = PidFile::create(directory.file(), 1);
    REQUIRE(old);
    const std::string beside = directory.file() + ".new";
    {
        auto next = PidFile::succeed(directory.file(), old->file());
        REQUIRE(next);
        CHECK(fs::exists(beside));
        CHECK(read_pid(directory.file()).value() == 1);
    }
    CHECK_FALSE(fs::exists(beside));  // it did not take place
    CHECK(read_pid(directory.file()).value() == 1);
    auto next = PidFile::succeed(directory.file(), old->file());
    REQUIRE(next);
    REQUIRE(next->take_place());
    CHECK_FALSE(fs::exists(beside));
    CHECK(read_pid(directory.file()).value() == ::getpid());
    old = Error{"gone", EINVAL};  // removes nothing: the name leads to another file now
    CHECK(running_pid(directory.file()).value() == ::getpid());
}

TEST_CASE("what a successor left beside a pid file is discarded by who has the file") {
    const Directory directory;
    const auto old = PidFile::create(directory.file());
    REQUIRE(old);
    std::ofstream{directory.file() + ".new"} << "1\n";
    CHECK(in_child([&] {
              old->discard_successor();
              return std::string{fs::exists(directory.file() + ".new") ? "there" : "gone"};
          }) == "there");  // a child has no say
    old->discard_successor();
    CHECK_FALSE(fs::exists(directory.file() + ".new"));
}

TEST_CASE("a pid file that a successor has replaced, and died over, is made anew when taken back") {
    const Directory directory;
    auto old = PidFile::create(directory.file());
    REQUIRE(old);
    old->disown();
    CHECK(in_child([&] {
              static std::optional<PidFile> next;  // is not destroyed
              auto made = PidFile::succeed(directory.file(), old->file());
              if (!made || !made->take_place()) return std::string{"not replaced"};
              next.emplace(*std::move(made));
              return std::string{"replaced"};
          }) == "replaced");
    CHECK_FALSE(running_pid(directory.file()));
    REQUIRE(old->take_back());
    CHECK(running_pid(directory.file()).value() == ::getpid());
    CHECK(PidFile::succeed(directory.file(), old->file()));  // another one can
    old = Error{"gone", EINVAL};
    CHECK_FALSE(fs::exists(directory.file()));
}

TEST_CASE(
    "a pid file is taken back as it is where it still is, and not from who holds another there") {
    const Directory directory;
    auto old = PidFile::create(directory.file());
    REQUIRE(old);
    auto next = PidFile::succeed(directory.file(), old->file());
    REQUIRE(next);
    old->disown();
    REQUIRE(old->take_back());
    CHECK(running_pid(directory.file()).value() == ::getpid());
    old->disown();
    REQUIRE(next->take_place());
    const auto refused = old->take_back();
    REQUIRE_FALSE(refused);
    CHECK(refused.error().is(std::errc::device_or_resource_busy));
    std::ofstream{directory.file() + ".new"} << "1\n";  // that one's successor's
    old->discard_successor();
    CHECK(fs::exists(directory.file() + ".new"));
    old = Error{"gone", EINVAL};
    CHECK(fs::exists(directory.file()));
}

TEST_CASE("nobody succeeds to a pid file by the descriptor of another one") {
    const Directory directory;
    const auto one = PidFile::create(directory.file());
    const auto other = PidFile::create(directory.file() + ".other");
    REQUIRE((one && other));
    CHECK_FALSE(PidFile::succeed(directory.file(), other->file()));
    CHECK_FALSE(fs::exists(directory.file() + ".new"));
}

}  // namespace
