#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.process;

#include "../temp_dir.h"

using namespace ringfort;
using process::ServiceManager;

namespace {

/// What a service manager has: a datagram socket, named in the environment.
struct Manager {
    testing::TempDir dir;
    Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};

    explicit Manager(const std::string& path) {
        const std::string name = path.empty() ? dir.file("notify") : path;
        const Address address = Address::parse("unix:" + name).value();
        REQUIRE(::bind(socket.get(), address.data(), address.size()) == 0);
        set("NOTIFY_SOCKET", name);
    }
    ~Manager() {
        for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "FDSTORE"})
            ::unsetenv(name);
    }
    Manager(const Manager&) = delete;

    static void set(const char* name, const std::string& value) {
        REQUIRE(::setenv(name, value.c_str(), 1) == 0);
    }
    [[nodiscard]] std::string heard() const { return heard_with_fds().first; }
    /// Returns a message and the descriptors that came with it.
    [[nodiscard]] std::pair<std::string, std::vector<Fd>> heard_with_fds() const {
        std::array<char, 4'096> bytes{};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(253 * sizeof(int))> control{};
        iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        const ssize_t count = ::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC);
        if (count < 0) return {};
        std::vector<Fd> fds;
        if (const cmsghdr* rights = CMSG_FIRSTHDR(&header))
            for (std::size_t at = 0; at + CMSG_LEN(0) < rights->cmsg_len; at += sizeof(int)) {
                int fd = -1;
                std::memcpy(&fd, CMSG_DATA(rights) + at, sizeof fd);
                fds.emplace_back(fd);
            }
        return std::pair{std::string{bytes.data(), static_cast<std::size_t>(count)},
                         std::move(fds)};
    }
};

}  // namespace

TEST_CASE("a service manager is told what happens, by path or by abstract name") {
    const Manager manager{GENERATE("", "@ringfort-test-notify")};
    auto told = ServiceManager::of_environment();
    CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
    told.ready("2 workers");
    CHECK(manager.heard() == "READY=1\nSTATUS=2 workers");
    told.reloading(Instant{std::chrono::microseconds{1'234'567}});
    CHECK(manager.heard() == "RELOADING=1\nMONOTONIC_USEC=1234567");
    told.stopping("drains");
    CHECK(manager.heard() == "STOPPING=1\nSTATUS=drains");
    told.ready("a line\nMAINPID=1");
    CHECK(manager.heard() == "READY=1\nSTATUS=a line MAINPID=1");
    CHECK_FALSE(told.next_beat());
    told.beat(now());
    CHECK(manager.heard().empty());
}

TEST_CASE("a manager that keeps descriptors gets copies, by name, and is told to close them") {
    const Manager manager{""};
    Manager::set("FDSTORE", "512");
    auto told = ServiceManager::of_environment();
    CHECK(told.keeps_descriptors());
    CHECK(told.environment().back() == "FDSTORE=512");
    const std::vector<RawFd> two{STDIN_FILENO, STDERR_FILENO};
    told.keep("ringfort", two);
    auto [message, fds] = manager.heard_with_fds();
    CHECK(message == "FDSTORE=1\nFDNAME=ringfort\nFDPOLL=0");
    CHECK(fds.size() == 2);
    told.keep("many", std::vector<RawFd>(300, STDERR_FILENO));
    CHECK(manager.heard_with_fds().second.size() == 253);
    CHECK(manager.heard_with_fds().second.size() == 47);
    told.keep("none", {});
    CHECK(manager.heard().empty());
    told.forget("ringfort");
    CHECK(manager.heard() == "FDSTOREREMOVE=1\nFDNAME=ringfort");
}

TEST_CASE("a manager that keeps nothing is not bothered with descriptors") {
    const Manager manager{""};
    const char* const says = GENERATE("", "0", "some");
    Manager::set("FDSTORE", says);
    auto told = ServiceManager::of_environment();
    CHECK_FALSE(told.keeps_descriptors());
    told.keep("ringfort", std::vector<RawFd>{STDERR_FILENO});
    told.forget("ringfort");
    CHECK(manager.heard().empty());
}

TEST_CASE("descriptors that a full manager had no room for are kept later") {
    const Manager manager{""};
    Manager::set("FDSTORE", "1");
    auto told = ServiceManager::of_environment();
    int sent = 0;
    while (!told.next_beat() && sent < 1'000) {
        told.stopping("drains");
        ++sent;
    }
    REQUIRE(told.next_beat());
    {
        const Fd passing = duplicate(STDERR_FILENO).value();
        told.keep("late", std::vector<RawFd>{passing.get()});
    }
    while (manager.heard() == "STOPPING=1\nSTATUS=drains") continue;
    told.beat(now() + limits::manager_retry_ms);
    CHECK(manager.heard() == "STOPPING=1\nSTATUS=drains");
    auto [message, fds] = manager.heard_with_fds();
    CHECK(message == "FDSTORE=1\nFDNAME=late\nFDPOLL=0");
    REQUIRE(fds.size() == 1);
    CHECK(::fcntl(fds[0].get(), F_GETFD) >= 0);
}

TEST_CASE("a manager that watches hears twice as often as it has to, of this process alone") {
    const Manager manager{""};
    Manager::set("WATCHDOG_USEC", "3000000");
    const bool meant = GENERATE(true, false);
    Manager::set("WATCHDOG_PID", std::to_string(meant ? ::getpid() : 1));
    auto told = ServiceManager::of_environment();
    REQUIRE(told.next_beat().has_value() == meant);
    if (!meant) return;
    const Instant first = *told.next_beat();
    told.beat(first);
    CHECK(manager.heard() == "WATCHDOG=1");
    CHECK(told.next_beat() == first + Milliseconds{1'500});
    told.beat(first + Milliseconds{1'499});
    CHECK(manager.heard().empty());
    told.beat(first + Milliseconds{1'500});
    CHECK(manager.heard() == "WATCHDOG=1");
}

TEST_CASE(
    "what a manager has no room for is told later, in order, but for the oldest of very many") {
    const Manager manager{""};
    auto told = ServiceManager::of_environment();
    constexpr int count = 300 + static_cast<int>(limits::manager_messages);
    for (int i = 0; i < count; ++i)
        told.ready(std::to_string(i));  // more than any queue has room for
    REQUIRE(told.next_beat().has_value());
    std::vector<int> heard;
    const auto listen = [&] {
        for (auto message = manager.heard(); !message.empty(); message = manager.heard())
            heard.push_back(std::stoi(message.substr(message.rfind('=') + 1)));
    };
    listen();
    const std::size_t at_once = heard.size();
    CHECK(at_once < 300);
    told.beat(*told.next_beat());
    listen();
    CHECK(std::ranges::is_sorted(heard));
    CHECK(heard.back() < count);
    while (told.next_beat()) {
        told.beat(*told.next_beat());
        listen();
    }
    CHECK(heard.size() == at_once + limits::manager_messages);
    CHECK(std::ranges::is_sorted(heard));
    CHECK(heard.back() == count - 1);
}

TEST_CASE("nobody is told anything where there is no manager, or one that is gone") {
    ServiceManager nobody;
    nobody.ready("");
    nobody.beat(now());
    {
        const Manager manager{""};
        Manager::set("WATCHDOG_USEC", "nonsense");
        nobody = ServiceManager::of_environment();
    }
    nobody.ready("");  // its socket is gone
    CHECK_FALSE(nobody.next_beat());
    ::setenv("NOTIFY_SOCKET", std::string(200, 'x').c_str(), 1);
    auto overlong = ServiceManager::of_environment();
    overlong.ready("");
    CHECK(std::getenv("NOTIFY_SOCKET") == nullptr);
}

TEST_CASE("a service manager learns who goes on, and the successor where to find it") {
    const Manager manager{""};
    Manager::set("WATCHDOG_USEC", "2000000");
    const std::string path = std::getenv("NOTIFY_SOCKET");
    auto told = ServiceManager::of_environment();
    CHECK(told.environment() ==
          std::vector<std::string>{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=2000000"});
    told.hand_over(1'234, "process 1234 serves");
    CHECK(manager.heard() == "MAINPID=1234\nREADY=1\nWATCHDOG=1\nSTATUS=process 1234 serves");
    told.stopping("drains");  // is not the main process any more
    told.beat(now() + std::chrono::hours{1});
    CHECK(manager.heard().empty());
    CHECK_FALSE(told.next_beat());
    CHECK(told.environment().empty());
}
