#include <catch2/catch_test_macros.hpp>

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>
#include <optional>
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

std::string enter(const SandboxOptions& options,
                  const std::optional<Credentials>& credentials = {}) {
    const auto entered = enter_sandbox(options, credentials);
    if (!entered) return entered.error().text() + "; ";
    return *entered == DropOutcome::not_root ? "not root; " : "";
}

/// A folder with one file in it, for every user.
struct Folder {
    testing::TempDir dir;
    std::string file = dir.file("file");
    Folder() {
        REQUIRE(open_for_writing(file) == "ok");
        REQUIRE(::chmod(file.c_str(), 0644) == 0);
        REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
    }
};

constexpr const char* none = "0000000000000000";

}  // namespace

#define REQUIRE_ALL()                                                  \
    if (Landlock::abi() < Landlock::scopes_abi || !has_call_filters()) \
    SKIP("this kernel lacks a part of the sandbox")

TEST_CASE("in its sandbox a process has no privilege and cannot gain any") {
    REQUIRE_ALL();
    const bool root = ::geteuid() == 0;
    const std::string text = in_child([&] {
        const Status status;
        std::optional<Credentials> nobody;
        if (root) nobody = Credentials::lookup("54321", "54322").value();
        return enter({}, nobody) + status.line("CapEff") + " " + status.line("CapPrm") + " " +
               (root ? status.line("CapBnd") : none) + " " + status.line("NoNewPrivs") + " " +
               status.line("Seccomp") + " " + std::to_string(::geteuid() == 0);
    });
    const std::string nothing{none};
    CHECK(text == nothing + " " + nothing + " " + nothing + " 1 2 0");
}

TEST_CASE("without a user to become, root gives up its capabilities all the same") {
    REQUIRE_ALL();
    if (::geteuid() != 0) SKIP("only root has capabilities to give up");
    CHECK(in_child([] {
              const Status status;
              return enter({}) + status.line("CapEff") + " " + status.line("CapBnd") + " " +
                     status.line("NoNewPrivs") + " " + status.line("Seccomp");
          }) == std::string{none} + " " + none + " 1 2");
}

TEST_CASE("who is not root stays who he is, in the sandbox") {
    REQUIRE_ALL();
    CHECK(in_child([]() -> std::string {
              if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
              const Status status;
              const auto root = Credentials::lookup("root");
              return enter({}, *root) + status.line("Seccomp");
          }) == "not root; 2");
}

TEST_CASE("the sandbox has room for what its options name, and for nothing else") {
    REQUIRE_ALL();
    const Folder readable;
    const Folder writable;
    const Folder other;
    const OpenPort port;
    const OpenPort other_port;
    const std::string text = in_child([&] {
        const std::string entered = enter({.read = {readable.dir.path()},
                                           .write = {writable.dir.path()},
                                           .connect_ports = {port.port()}});
        return entered + open_for_reading(readable.file) + " " + open_for_writing(readable.file) +
               " " + open_for_writing(writable.dir.file("new")) + " " +
               open_for_reading(other.file) + " " + connect_to(port.port()) + " " +
               connect_to(other_port.port()) + " " + bind_any(SOCK_STREAM);
    });
    CHECK(text == "ok EACCES ok EACCES ok EACCES EPERM");
    CHECK(in_child([&] {
              return enter({.connect_anywhere = true}) + connect_to(port.port()) + " " +
                     connect_to(other_port.port());
          }) == "ok ok");
}

TEST_CASE("a path that is not there keeps a process from its sandbox") {
    REQUIRE_ALL();
    const Folder folder;
    CHECK(in_child([&] {
              log::write_to(Fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
              return enter({.read = {folder.dir.file("missing")}});
          }) == "open: No such file or directory; ");
}

TEST_CASE("root moves into a folder and finds its paths from there") {
    REQUIRE_ALL();
    if (::geteuid() != 0) SKIP("only root can change its root directory");
    const Folder folder;
    const Folder outside;
    REQUIRE(open_for_writing(outside.dir.file("outside")) == "ok");
    CHECK(in_child([&] {
              (void)::chdir(outside.dir.path().c_str());
              const auto nobody = Credentials::lookup("54321", "54322").value();
              return enter({.root = folder.dir.path(), .read = {"/file"}}, nobody) +
                     open_for_reading("/file") + " " + open_for_reading(folder.file) + " " +
                     open_for_reading("/../../../dev/null") + " " + open_for_reading("outside");
          }) == "ok ENOENT ENOENT ENOENT");
}

TEST_CASE("nobody moves into a folder that is not there, and only root into any") {
    REQUIRE_ALL();
    const Folder folder;
    const auto into = [&](const std::string& root, bool as_root) {
        return in_child([&]() -> std::string {
            if (!as_root && ::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0)
                return "still root";
            log::write_to(Fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
            return enter({.root = root});
        });
    };
    CHECK(into(folder.dir.path(), false) == "chroot: Operation not permitted; ");
    CHECK(into(folder.dir.file("missing"), true) == "chroot: No such file or directory; ");
}

TEST_CASE("the time of day is told in the sandbox, also when a refusal kills") {
    REQUIRE_ALL();
    CHECK(in_child([] {
              const std::string entered = enter({.refusal = Refusal::kill});
              const std::time_t now = std::time(nullptr);
              std::tm parts{};
              return entered + (::gmtime_r(&now, &parts) != nullptr ? "told" : "not told");
          }) == "told");
}

TEST_CASE("a kernel that has all of it has no shortcomings") {
    REQUIRE_ALL();
    CHECK(
        sandbox_shortcomings({.read = {"/"}, .connect_ports = {1}, .unix_sockets = true}).empty());
}
