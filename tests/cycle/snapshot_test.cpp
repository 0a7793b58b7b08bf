#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;
import ringfort.shm;

#include "surroundings.h"

using namespace ringfort;
using cycle::Built;
using cycle::Cycle;

namespace {

config::Settings settings(std::initializer_list<std::string> addresses) {
    config::Settings made;
    for (const std::string& address : addresses)
        made.listeners.push_back(testing::listener(address));
    return made;
}

std::unique_ptr<Cycle> must_build(config::Settings wanted, std::uint32_t generation,
                                  const Cycle* old = nullptr,
                                  const std::vector<cycle::ZoneRequest>& requests = {}) {
    Built built = Cycle::build(std::move(wanted), generation,
                               old == nullptr ? cycle::Stock{} : old->stock(), requests);
    INFO((built.obstacles.empty() ? "" : built.obstacles.front()));
    REQUIRE(built.obstacles.empty());
    REQUIRE(built.cycle);
    return std::move(built.cycle);
}

const cycle::Listener* listener_of(const Cycle& cycle, std::size_t index) {
    REQUIRE(cycle.bindings().size() > index);
    return cycle.bindings()[index].listeners.front().get();
}

bool mentions(const std::vector<std::string>& obstacles, const std::string& what) {
    return std::ranges::any_of(
        obstacles, [&](const std::string& one) { return one.find(what) != std::string::npos; });
}

}  // namespace

TEST_CASE("a first cycle opens everything itself") {
    const testing::TempDir directory;
    auto wanted = settings({"127.0.0.1:0", "unix:" + directory.file("socket")});
    wanted.zones.push_back({.name = "limits", .size = Bytes{65'536}});
    wanted.log.target = directory.file("log");
    const auto cycle = must_build(wanted, 1);
    CHECK(cycle->generation() == 1);
    REQUIRE(cycle->bindings().size() == 2);
    for (const auto& binding : cycle->bindings()) {
        CHECK_FALSE(binding.carried_over);
        CHECK(testing::connect_to(binding.first().bound()) == 0);
    }
    REQUIRE(cycle->zones().size() == 1);
    CHECK(cycle->zones()[0]->name() == "limits");
    CHECK(static_cast<bool>(cycle->log_file()));
}

TEST_CASE("a listener is carried over by its configured address, port 0 included") {
    const auto old = must_build(settings({"127.0.0.1:0"}), 1);
    auto wanted = settings({"127.0.0.1:0"});
    wanted.listeners[0].service = "other";
    const auto next = must_build(wanted, 2, old.get());
    CHECK(listener_of(*next, 0) == listener_of(*old, 0));
    CHECK(next->bindings()[0].carried_over);
    CHECK(next->bindings()[0].settings.service == "other");
    CHECK(old->bindings()[0].settings.service == "echo");
}

TEST_CASE("a listener is carried over by the address it is bound to") {
    const auto old = must_build(settings({"127.0.0.1:0"}), 1);
    const Address bound = listener_of(*old, 0)->bound();
    const auto next = must_build(settings({bound.text()}), 2, old.get());
    CHECK(listener_of(*next, 0) == listener_of(*old, 0));
    CHECK(listener_of(*next, 0)->bound() == bound);
}

TEST_CASE("an entry with the picked port takes its listener before one with port 0") {
    const auto old = must_build(settings({"127.0.0.1:0"}), 1);
    const Address bound = listener_of(*old, 0)->bound();
    const auto next = must_build(settings({"127.0.0.1:0", bound.text()}), 2, old.get());
    CHECK(listener_of(*next, 1) == listener_of(*old, 0));
    CHECK_FALSE(next->bindings()[0].carried_over);
}

TEST_CASE("of several entries with port 0 each old listener is used once") {
    const auto old = must_build(settings({"127.0.0.1:0", "127.0.0.1:0"}), 1);
    REQUIRE(listener_of(*old, 0) != listener_of(*old, 1));
    const auto next =
        must_build(settings({"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}), 2, old.get());
    CHECK(listener_of(*next, 0) == listener_of(*old, 0));
    CHECK(listener_of(*next, 1) == listener_of(*old, 1));
    CHECK(listener_of(*next, 2) != listener_of(*old, 0));
    CHECK(listener_of(*next, 2) != listener_of(*old, 1));
    CHECK_FALSE(next->bindings()[2].carried_over);
}

TEST_CASE("a removed listener listens until the last cycle that has it goes") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto old = must_build(settings({"127.0.0.1:0", "unix:" + path}), 1);
    const Address tcp = listener_of(*old, 0)->bound();
    const Address local = listener_of(*old, 1)->bound();
    auto next = must_build(settings({tcp.text()}), 2, old.get());
    CHECK(testing::connect_to(local) == 0);
    SECTION("by its end") {
        old.reset();
    }
    SECTION("by letting go of its listeners") {
        old->close_listeners();
    }
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(testing::connect_to(local) == ENOENT);
    CHECK(testing::connect_to(tcp) == 0);
    next.reset();
    old.reset();
    CHECK(testing::connect_to(tcp) == ECONNREFUSED);
}

TEST_CASE("the listeners taken over get new backlog and mode only when the cycle becomes current") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto wanted = settings({"unix:" + path});
    wanted.listeners[0].mode = config::FileMode{0600};
    const auto old = must_build(wanted, 1);
    wanted.listeners[0].mode = config::FileMode{0660};
    const auto next = must_build(wanted, 2, old.get());
    CHECK(testing::permissions(path) == 0600);
    next->update_listeners();
    CHECK(testing::permissions(path) == 0660);
}

TEST_CASE("every obstacle of a build is reported, with a remedy") {
    const testing::TempDir directory;
    const auto taken = must_build(settings({"127.0.0.1:0"}), 1);
    const std::string busy = listener_of(*taken, 0)->bound().text();
    auto wanted = settings({busy, "192.0.2.1:7000", "unix:" + directory.file("no/socket")});
    wanted.zones.push_back({.name = "tiny", .size = Bytes{1}});
    wanted.log.target = directory.file("no/log");
    const Built built = Cycle::build(wanted, 2, {}, {});
    CHECK_FALSE(built.cycle);
    REQUIRE(built.obstacles.size() == 5);
    CHECK(mentions(built.obstacles, "listener " + busy));
    CHECK(mentions(built.obstacles, "Another program listens there"));
    CHECK(mentions(built.obstacles, "listener 192.0.2.1:7000"));
    CHECK(mentions(built.obstacles, "no interface with that address"));
    CHECK(mentions(built.obstacles, "The directory does not exist"));
    CHECK(mentions(built.obstacles, "zone tiny"));
    CHECK(mentions(built.obstacles, "log " + wanted.log.target));
}

TEST_CASE("a failed build leaves the old cycle as it was and nothing behind") {
    const testing::TempDir directory;
    const std::string kept = directory.file("kept");
    auto first = settings({"127.0.0.1:0", "unix:" + kept});
    first.log.target = directory.file("log");
    first.zones.push_back({.name = "limits", .size = Bytes{65'536}});
    const auto old = must_build(first, 1);
    const auto descriptors = testing::open_descriptors();
    const auto entries = directory.entries();

    auto wanted = first;
    wanted.listeners.push_back(testing::listener("127.0.0.1:0"));
    wanted.listeners.push_back(testing::listener("unix:" + directory.file("new")));
    wanted.listeners.push_back(testing::listener("unix:" + directory.file("no/socket")));
    wanted.zones.push_back({.name = "more", .size = Bytes{65'536}});
    {
        const Built built = Cycle::build(wanted, 2, old->stock(), {});
        CHECK_FALSE(built.cycle);
        CHECK(built.obstacles.size() == 1);
    }
    CHECK(testing::open_descriptors() == descriptors);
    CHECK(directory.entries() == entries);
    CHECK(std::filesystem::exists(kept));
    REQUIRE(old->bindings().size() == 2);
    for (const auto& binding : old->bindings())
        CHECK(testing::connect_to(binding.first().bound()) == 0);
    CHECK(old->zones().size() == 1);
}

TEST_CASE("a cycle leaves no descriptor when it goes") {
    const testing::TempDir directory;
    const auto before = testing::open_descriptors();
    {
        auto wanted = settings({"127.0.0.1:0", "unix:" + directory.file("socket")});
        wanted.log.target = directory.file("log");
        wanted.zones.push_back({.name = "limits", .size = Bytes{65'536}});
        const auto old = must_build(wanted, 1);
        const auto next = must_build(wanted, 2, old.get());
        CHECK(testing::open_descriptors() > before);
    }
    CHECK(testing::open_descriptors() == before);
    CHECK(directory.entries() == 1);  // the log
}

namespace {

shm::Pool pool_in(const cycle::Cycle& cycle, std::size_t index) {
    return shm::Pool::keep(*cycle.zones().at(index)).value();
}

using Numbers = shm::MapOf<std::string, std::uint64_t>;

/// Opens pools as their only keeper.
cycle::BuildOptions keeper() {
    return {.open_pool = [](shm::Zone& zone) { return shm::Pool::keep(zone); }};
}

}  // namespace

TEST_CASE("zones are carried over with their contents; only new ones are laid out") {
    int formatted = 0;
    const cycle::ZoneRequest table{.name = "table",
                                   .tag = "table/1",
                                   .size = Bytes{8192},
                                   .content = cycle::Content::custom,
                                   .format = [&](shm::Zone&) -> Result<void> {
                                       ++formatted;
                                       return {};
                                   }};
    auto wanted = settings({});
    wanted.zones.push_back({.name = "limits", .size = Bytes{65'536}});
    const auto old = must_build(wanted, 1, nullptr, {table});
    REQUIRE(old->zones().size() == 2);
    const auto numbers = Numbers::create(pool_in(*old, 0), 0).value();
    REQUIRE(numbers.put("a", 1));
    old->zones()[1]->payload()[17] = std::byte{99};

    const auto same = must_build(wanted, 2, old.get(), {table});
    CHECK(formatted == 1);
    CHECK(same->zones() == old->zones());

    SECTION("a larger one has what was in the old one, which the old cycle goes on with") {
        wanted.zones[0].size = Bytes{131'072};
        const Built built = Cycle::build(wanted, 3, same->stock(), {table}, keeper());
        REQUIRE(built.cycle);
        CHECK(built.cycle->zones()[0] != same->zones()[0]);
        CHECK(built.cycle->zones()[1] == same->zones()[1]);
        const auto grown = Numbers::open(pool_in(*built.cycle, 0), 0).value();
        CHECK(grown.get("a").value() == 1);
        REQUIRE(grown.put("b", 2));
        CHECK_FALSE(Numbers::open(pool_in(*same, 0), 0).value().get("b").value());
        CHECK(formatted == 1);
    }
    SECTION("a smaller one begins empty") {
        wanted.zones[0].size = Bytes{131'072};
        const auto large = must_build(wanted, 3, nullptr, {table});
        REQUIRE(Numbers::create(pool_in(*large, 0), 0));
        wanted.zones[0].size = Bytes{65'536};
        const Built built = Cycle::build(wanted, 4, large->stock(), {table}, keeper());
        REQUIRE(built.cycle);
        CHECK(Numbers::open(pool_in(*built.cycle, 0), 0)
                  .error()
                  .is(std::errc::no_such_file_or_directory));
    }
    SECTION("with noreuse each cycle has a new one") {
        wanted.zones[0].noreuse = true;
        const auto next = must_build(wanted, 3, same.get(), {table});
        CHECK(next->zones()[0] != same->zones()[0]);
        CHECK(next->zones()[1] == same->zones()[1]);
        const auto last = must_build(wanted, 4, next.get(), {table});
        CHECK(last->zones()[0] != next->zones()[0]);
    }
    SECTION("another tag makes another zone") {
        auto retagged = table;
        retagged.tag = "table/2";
        const auto next = must_build(wanted, 3, same.get(), {retagged});
        CHECK(next->zones()[0] == same->zones()[0]);
        CHECK(next->zones()[1] != same->zones()[1]);
        CHECK(formatted == 2);
    }
    SECTION("one that is corrupted is made anew") {
        same->zones()[0]->payload()[0] ^= std::byte{1};
        const auto next = must_build(wanted, 3, same.get(), {table});
        CHECK(next->zones()[0] != same->zones()[0]);
        CHECK(Numbers::open(pool_in(*next, 0), 0).error().is(std::errc::no_such_file_or_directory));
    }
}

TEST_CASE("a zone that was made for the cycle goes before one that there was") {
    auto wanted = settings({});
    wanted.zones.push_back({.name = "limits", .size = Bytes{65'536}, .noreuse = true});
    const auto old = must_build(wanted, 1);
    cycle::Stock stock = old->stock();
    stock.made.push_back(
        cycle::make_zone({.name = "limits", .tag = "pool", .size = Bytes{65'536}}).value());
    const auto made = stock.made[0];
    const Built built = Cycle::build(wanted, 2, std::move(stock), {});
    REQUIRE(built.cycle);
    CHECK(built.cycle->zones() == std::vector{made});
}

TEST_CASE("a zone of another purpose is not taken for a requested one of the same name") {
    auto wanted = settings({});
    wanted.zones.push_back({.name = "table", .size = Bytes{65'536}});
    const auto old = must_build(wanted, 1);
    const auto next = must_build(wanted, 2, old.get(), {{.name = "table", .tag = "table/1"}});
    CHECK(next->zones()[0] != old->zones()[0]);
}

TEST_CASE("a rotated log is opened anew") {
    const testing::TempDir directory;
    auto wanted = settings({});
    wanted.log.target = directory.file("log");
    const auto cycle = must_build(wanted, 1);
    REQUIRE(::write(cycle->log_file().get(), "old\n", 4) == 4);
    std::filesystem::rename(wanted.log.target, directory.file("log.1"));
    REQUIRE(cycle->reopen_log());
    REQUIRE(::write(cycle->log_file().get(), "new\n", 4) == 4);
    std::string line;
    std::ifstream{wanted.log.target} >> line;
    CHECK(line == "new");
    std::ifstream{directory.file("log.1")} >> line;
    CHECK(line == "old");
}

TEST_CASE("a log that cannot be opened anew stays as it is") {
    const testing::TempDir directory;
    std::filesystem::create_directory(directory.file("logs"));
    auto wanted = settings({});
    wanted.log.target = directory.file("logs/log");
    const auto cycle = must_build(wanted, 1);
    const RawFd before = cycle->log_file().get();
    std::filesystem::rename(directory.file("logs"), directory.file("moved"));
    const auto reopened = cycle->reopen_log();
    REQUIRE_FALSE(reopened);
    CHECK(reopened.error().is(std::errc::no_such_file_or_directory));
    CHECK(cycle->log_file().get() == before);
    REQUIRE(::write(cycle->log_file().get(), "still\n", 6) == 6);
    std::string line;
    std::ifstream{directory.file("moved/log")} >> line;
    CHECK(line == "still");
}

TEST_CASE("a test of a configuration may find its address taken, and nothing else") {
    const testing::TempDir directory;
    const auto running =
        must_build(settings({"127.0.0.1:0", "unix:" + directory.file("socket")}), 1);
    auto wanted =
        settings({listener_of(*running, 0)->bound().text(), "unix:" + directory.file("socket")});
    const Built strict = Cycle::build(wanted, 1, {}, {});
    CHECK(strict.obstacles.size() == 2);
    {
        const Built lenient =
            Cycle::build(wanted, 1, {}, {}, {.in_use = cycle::AddressInUse::is_allowed});
        CHECK(lenient.obstacles.empty());
        CHECK(lenient.cycle);
    }
    wanted.listeners.push_back(testing::listener("unix:" + directory.file("no/socket")));
    const Built broken =
        Cycle::build(wanted, 1, {}, {}, {.in_use = cycle::AddressInUse::is_allowed});
    CHECK(broken.obstacles.size() == 1);
    for (const auto& binding : running->bindings())
        CHECK(testing::connect_to(binding.first().bound()) == 0);
}

// The log is opened before anything else can fail, and stays as an empty file. The tag goes with
// the bug.
TEST_CASE("a failed build leaves a log file that it had to create, empty") {
    const testing::TempDir directory;
    auto wanted = settings({"unix:" + directory.file("no/socket")});
    wanted.log.target = directory.file("log");
    CHECK_FALSE(Cycle::build(wanted, 1, {}, {}).cycle);
    // Removing it could remove a log that another process has begun to write to meanwhile.
    CHECK(std::filesystem::file_size(wanted.log.target) == 0);
}

TEST_CASE("a cycle takes out of a stock what is fresh, and says that it is new") {
    const testing::TempDir directory;
    const auto old = must_build(settings({"127.0.0.1:0"}), 1);
    auto wanted = settings({"127.0.0.1:0", "unix:" + directory.file("socket")});
    wanted.zones.push_back({.name = "limits", .size = Bytes{65'536}});
    wanted.log.target = directory.file("log");
    cycle::Stock stock = old->stock();
    stock.add(cycle::Listener::open(wanted.listeners[1]).value(), true);
    const auto* const opened = stock.groups[1].listeners[0].get();
    stock.zones.push_back(
        cycle::make_zone({.name = "limits", .tag = "pool", .size = Bytes{65'536}}).value());
    const auto zone = stock.zones.back();
    stock.log = cycle::open_log(wanted.log.target).value();
    const RawFd log = stock.log->get();
    const Built built = Cycle::build(wanted, 2, std::move(stock), {});
    REQUIRE(built.cycle);
    CHECK(listener_of(*built.cycle, 0) == listener_of(*old, 0));
    CHECK(built.cycle->bindings()[0].carried_over);
    CHECK(listener_of(*built.cycle, 1) == opened);
    CHECK_FALSE(built.cycle->bindings()[1].carried_over);
    CHECK(built.cycle->zones() == std::vector{zone});
    CHECK(built.cycle->log_file().get() == log);
}

TEST_CASE("a stock holds what can be reached, and no log") {
    const testing::TempDir directory;
    const std::string path = directory.file("socket");
    auto wanted = settings({"127.0.0.1:0", "unix:" + path});
    wanted.log.target = directory.file("log");
    const auto cycle = must_build(wanted, 1);
    CHECK(cycle->stock().groups.size() == 2);
    CHECK_FALSE(cycle->stock().log);
    std::filesystem::remove(path);
    CHECK(cycle->stock().groups.size() == 1);
}
