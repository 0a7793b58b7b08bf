#include <catch2/catch_test_macros.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>

#include "../temp_dir.h"
#include "in_child.h"

#include "confined.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

/// Puts this process under a ruleset that `allow` has added to; returns what went wrong.
template <class Allow>
std::string enforce(const LandlockOptions& options, Allow allow) {
    auto ruleset = Landlock::create(options);
    if (!ruleset) return ruleset.error().text() + "; ";
    if (const Result<void> allowed = allow(*ruleset); !allowed) return allowed.error().text();
    if (const auto forbidden = forbid_new_privileges(); !forbidden) return "privileges; ";
    if (const auto enforced = ruleset->enforce(); !enforced) return enforced.error().text() + "; ";
    return "";
}

std::string enforce(const LandlockOptions& options) {
    return enforce(options, [](Landlock&) { return Result<void>{}; });
}

/// A folder with one file in it.
struct Folder {
    testing::TempDir dir;
    std::string file = dir.file("file");
    Folder() { REQUIRE(open_for_writing(file) == "ok"); }
};

}  // namespace

#define REQUIRE_ABI(least) \
    if (Landlock::abi() < (least)) SKIP("this kernel's Landlock is older than version " #least)

TEST_CASE("under an empty ruleset no file can be opened, made, listed or removed") {
    REQUIRE_ABI(1);
    const Folder folder;
    CHECK(in_child([&] {
              return enforce({}) + open_for_reading(folder.file) + " " +
                     open_for_writing(folder.dir.file("new")) + " " +
                     open_for_reading(folder.dir.path()) + " " +
                     said(::unlink(folder.file.c_str())) + " " +
                     said(::mkdir(folder.dir.file("sub").c_str(), 0700)) + " " +
                     open_for_reading("/dev/null");
          }) == "EACCES EACCES EACCES EACCES EACCES EACCES");
}

TEST_CASE("a folder that may be read may be listed and read, not changed") {
    REQUIRE_ABI(1);
    const Folder folder;
    const Folder other;
    const auto allow = [&](Landlock& ruleset) { return ruleset.allow_reading(folder.dir.path()); };
    CHECK(in_child([&] {
              return enforce({}, allow) + open_for_reading(folder.file) + " " +
                     open_for_reading(folder.dir.path()) + " " + open_for_writing(folder.file) +
                     " " + said(::unlink(folder.file.c_str())) + " " + open_for_reading(other.file);
          }) == "ok ok EACCES EACCES EACCES");
}

TEST_CASE("a folder that may be written may be changed, and one file alone may be, too") {
    REQUIRE_ABI(1);
    const Folder folder;
    const Folder other;
    const auto allow = [&](Landlock& ruleset) -> Result<void> {
        if (auto allowed = ruleset.allow_writing(folder.dir.path()); !allowed) return allowed;
        return ruleset.allow_writing(other.file);
    };
    CHECK(in_child([&] {
              const std::string made = folder.dir.file("new");
              const std::string moved = folder.dir.file("moved");
              return enforce({}, allow) + open_for_writing(made) + " " + open_for_reading(made) +
                     " " + said(::rename(made.c_str(), moved.c_str())) + " " +
                     said(::unlink(moved.c_str())) + " " + open_for_writing(other.file) + " " +
                     open_for_writing(other.dir.file("new")) + " " +
                     said(::unlink(other.file.c_str()));
          }) == "ok ok ok ok ok EACCES EACCES");
}

TEST_CASE("a path that is not there cannot be allowed") {
    REQUIRE_ABI(1);
    const Folder folder;
    auto ruleset = Landlock::create({}).value();
    const auto allowed = ruleset.allow_reading(folder.dir.file("missing"));
    REQUIRE_FALSE(allowed);
    CHECK(allowed.error().text() == "open: No such file or directory");
}

TEST_CASE("only ports that were allowed can be connected to, and none can be bound") {
    REQUIRE_ABI(Landlock::ports_abi);
    const OpenPort one;
    const OpenPort other;
    const auto allow = [&](Landlock& ruleset) { return ruleset.allow_connecting(one.port()); };
    CHECK(in_child([&] {
              return enforce({}, allow) + connect_to(one.port()) + " " + connect_to(other.port()) +
                     " " + bind_any(SOCK_STREAM) + " " + bind_any(SOCK_DGRAM);
          }) == "ok EACCES EACCES ok");
}

TEST_CASE("connections can be left alone, binding then still cannot") {
    REQUIRE_ABI(Landlock::ports_abi);
    const OpenPort any;
    CHECK(in_child([&] {
              return enforce({.connections = false}) + connect_to(any.port()) + " " +
                     bind_any(SOCK_STREAM);
          }) == "ok EACCES");
}

TEST_CASE("a signal to a process outside is refused, to itself it is not") {
    REQUIRE_ABI(Landlock::scopes_abi);
    CHECK(in_child([] {
              return enforce({}) + said(::kill(::getppid(), 0)) + " " + said(::kill(::getpid(), 0));
          }) == "EPERM ok");
}

TEST_CASE("without no_new_privs an unprivileged process cannot put itself under a ruleset") {
    REQUIRE_ABI(1);
    CHECK(in_child([]() -> std::string {
              if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
              auto ruleset = Landlock::create({});
              if (!ruleset) return ruleset.error().text();
              const auto enforced = ruleset->enforce();
              return enforced ? "enforced" : enforced.error().text();
          }) == "landlock_restrict_self: Operation not permitted");
}
