#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdlib>
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
        for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
            ::unsetenv(name);
    }
    Manager(const Manager&) = delete;

    static void set(const char* name, const std::string& value) {
        REQUIRE(::setenv(name, value.c_str(), 1) == 0);
    }
    [[nodiscard]] std::string heard() const {
        std::array<char, 4'096> bytes{};
        const ssize_t count = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
        return count < 0 ? "" : std::string{bytes.data(), static_cast<std::size_t>(count)};
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
    told.stopping();
    CHECK(manager.heard() == "STOPPING=1");
    told.ready("a line\nMAINPID=1");
    CHECK(manager.heard() == "READY=1\nSTATUS=a line MAINPID=1");
    CHECK_FALSE(told.next_beat());
    told.beat(now());
    CHECK(manager.heard().empty());
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
    for (int i = 0; i < 300; ++i)
        told.ready(std::to_string(i));  // more than any queue has room for
    REQUIRE(told.next_beat().has_value());
    std::vector<int> heard;
    const auto listen = [&] {
        for (auto message = manager.heard(); !message.empty(); message = manager.heard())
            heard.push_back(std::stoi(message.substr(message.rfind('=') + 1)));
    };
    listen();
    const std::size_t at_once = heard.size();
    CHECK(at_once < 300 - limits::manager_messages);
    told.beat(*told.next_beat());
    listen();
    CHECK(std::ranges::is_sorted(heard));
    CHECK(heard.back() < 300);
    while (told.next_beat()) {
        told.beat(*told.next_beat());
        listen();
    }
    CHECK(heard.size() == at_once + limits::manager_messages);
    CHECK(std::ranges::is_sorted(heard));
    CHECK(heard.back() == 299);
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
    CHECK(manager.heard() == "MAINPID=1234\nREADY=1\nSTATUS=process 1234 serves");
    told.stopping();  // is not the main process any more
    told.beat(now() + std::chrono::hours{1});
    CHECK(manager.heard().empty());
    CHECK_FALSE(told.next_beat());
    CHECK(told.environment().empty());
}
