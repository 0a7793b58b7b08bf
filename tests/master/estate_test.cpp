#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../temp_dir.h"

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.master;
import ringfort.process;
import ringfort.shm;

using namespace ringfort;
using master::EstateReader;
using master::offer;
using master::offer_text;

namespace {

/// What is offered is read at once.
struct Passing {
    EstateReader reader;
    std::size_t messages = 0;
    master::Send send = [this](const channel::Message& message, channel::Fds fds) {
        ++messages;
        return reader.take({message, std::move(fds)});
    };
};

std::shared_ptr<cycle::Listener> listener(const std::string& address) {
    return cycle::Listener::open(
               {.address = Address::parse(address).value(), .service = "echo", .mode = {}})
        .value();
}

}  // namespace

TEST_CASE("an estate arrives as it was offered") {
    const testing::TempDir dir;
    Passing passing;
    const auto first = listener("127.0.0.1:0");
    const auto door = listener("unix:" + dir.file("control"));
    auto zone = shm::Zone::create("limits", "tag", Bytes{8'192}).value();
    const auto pid_file = process::PidFile::create(dir.file("pid")).value();
    REQUIRE(offer(*first, false, passing.send));
    REQUIRE(offer(*door, true, passing.send));
    REQUIRE(offer(zone, passing.send));
    REQUIRE(offer(pid_file, passing.send));
    REQUIRE(passing.send(channel::Succession{.generation = 9, .rows_from_top = true}, {}));
    REQUIRE(passing.send(channel::TakenRow{5}, {}));
    REQUIRE(passing.send(channel::TakenRow{6}, {}));
    CHECK_FALSE(passing.reader.estate().complete);
    REQUIRE(passing.send(channel::Done{.success = true}, {}));
    CHECK_FALSE(passing.send(channel::Done{.success = true}, {}));  // nothing comes after the end
    auto estate = std::move(passing.reader).release();
    CHECK(estate.complete);
    CHECK(estate.success);
    REQUIRE(estate.stock.groups.size() == 1);
    const auto& taken = estate.stock.groups[0].first();
    CHECK(taken.bound() == first->bound());
    CHECK(taken.configured() == first->configured());
    CHECK_FALSE(estate.stock.groups[0].fresh);
    REQUIRE(estate.control);
    CHECK(estate.control->bound() == door->bound());
    REQUIRE(estate.stock.zones.size() == 1);
    zone.payload()[0] = std::byte{42};
    CHECK(estate.stock.zones[0]->payload()[0] == std::byte{42});
    REQUIRE(estate.pid_file);
    CHECK(estate.pid_file->path == dir.file("pid"));
    CHECK(estate.last_generation == 9);
    CHECK(estate.rows_from_top);
    CHECK(estate.taken_rows == std::vector<std::uint32_t>{5, 6});
    estate.control.reset();
    CHECK(std::filesystem::exists(dir.file("control")));  // it was never its own
}

TEST_CASE("a long text travels in parts, and an empty one arrives") {
    Passing passing;
    std::string text;
    for (int i = 0; text.size() < 5 * limits::max_text_bytes; ++i)
        text += std::to_string(i) + '\n' + '\0';
    text.resize(5 * limits::max_text_bytes + 1);
    REQUIRE(offer_text(channel::TextUse::configuration, text, passing.send));
    CHECK(passing.messages == 6);
    REQUIRE(offer_text(channel::TextUse::finding, "", passing.send));
    REQUIRE(offer_text(channel::TextUse::finding, std::string(limits::max_text_bytes + 1, 'x'),
                       passing.send));
    const auto estate = std::move(passing.reader).release();
    CHECK(estate.configuration == text);
    REQUIRE(estate.findings.size() == 2);
    CHECK(estate.findings[0].empty());
    CHECK(estate.findings[1] == std::string(limits::max_text_bytes + 1, 'x'));
}

TEST_CASE("no more findings are kept than people read") {
    Passing passing;
    for (std::size_t i = 0; i < limits::max_findings + 5; ++i)
        REQUIRE(offer_text(channel::TextUse::finding, std::to_string(i), passing.send));
    CHECK(std::move(passing.reader).release().findings.size() == limits::max_findings);
}

TEST_CASE("a user of many groups keeps all of them") {
    for (const std::size_t count : {std::size_t{1}, limits::max_user_groups,
                                    limits::max_user_groups + 1, 3 * limits::max_user_groups}) {
        Passing passing;
        std::vector<gid_t> groups;
        for (std::size_t i = 0; i < count; ++i) groups.push_back(static_cast<gid_t>(1'000 + i));
        REQUIRE(offer(process::Credentials::of("www", 33, 34, groups), passing.send));
        const auto estate = std::move(passing.reader).release();
        REQUIRE(estate.credentials);
        CHECK(estate.credentials->user() == "www");
        CHECK(estate.credentials->uid() == 33);
        CHECK(estate.credentials->gid() == 34);
        CHECK(estate.credentials->groups() == groups);
    }
}

TEST_CASE("whose files are to be is told by the listener's place") {
    EstateReader reader;
    REQUIRE(reader.take({channel::FileOwner{.listener = 7, .uid = 33, .gid = {}}, {}}));
    const auto owners = std::move(reader).release().stock.owners;
    REQUIRE(owners.size() == 1);
    CHECK(owners.at(7).user == 33);
    CHECK_FALSE(owners.at(7).group);
}

TEST_CASE("a zone whose header is written over is left out of an estate, and nothing else is") {
    Passing passing;
    auto spoiled = shm::Zone::create("limits", "tag", Bytes{8'192}).value();
    const auto sound = shm::Zone::create("table", "tag", Bytes{8'192}).value();
    *(spoiled.payload().data() - 256) ^= std::byte{1};
    REQUIRE(offer(spoiled, passing.send));
    REQUIRE(offer(sound, passing.send));
    const auto estate = std::move(passing.reader).release();
    REQUIRE(estate.stock.zones.size() == 1);
    CHECK(estate.stock.zones[0]->name() == "table");
}

TEST_CASE("what is no part of an estate is refused") {
    EstateReader reader;
    CHECK(reader.take({channel::Terminate{}, {}}).error().is(std::errc::protocol_error));
    // Not a listening socket, and not a zone.
    Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK_FALSE(
        reader.take({channel::OfferListener{.use = channel::ListenerUse::service,
                                            .configured = Address::parse("127.0.0.1:1").value()},
                     std::move(socket)}));
    Fd other{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK_FALSE(reader.take(
        {channel::AddZone{.name = "limits", .tag = "", .size = Bytes{4'096}}, std::move(other)}));
    CHECK(std::move(reader).release().stock.groups.empty());
}
