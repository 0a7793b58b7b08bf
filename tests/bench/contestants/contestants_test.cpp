// A contestant that loses bytes, forgets to close or does less than the others would flatter ours:
// every one that was built has to keep the same contract.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <string>

#include "server.hpp"

using bench::built_contestants;
using bench::Client;
using bench::Entry;
using bench::Server;

namespace {

/// Bytes that no shift or swap leaves unchanged.
std::string stream(std::size_t size, std::uint32_t seed) {
    std::string bytes;
    for (std::uint32_t state = seed * 2 + 1; bytes.size() < size;) {
        state = state * 1664525 + 1013904223;
        bytes += static_cast<char>(state >> 24);
    }
    return bytes;
}

/// Sends in pieces of odd sizes, then closes this half.
void send_in_odd_pieces(const Client& client, const std::string& bytes) {
    std::size_t size = 1;
    for (std::size_t at = 0; at < bytes.size(); at += size, size = size * 7 % 65537 + 1) {
        client.send(bytes.substr(at, size));
    }
    client.finish();
}

/// Runs the check on every echo, and on every relay in front of an echo.
void with_each(const std::function<void(Server&)>& check) {
    const auto echoes = built_contestants("echo");
    REQUIRE_FALSE(echoes.empty());
    for (const Entry& entry : echoes) {
        INFO("echo " << entry.name);
        Server server(entry);
        check(server);
    }
    const auto relays = built_contestants("relay");
    REQUIRE_FALSE(relays.empty());
    for (const Entry& entry : relays) {
        INFO("relay " << entry.name);
        const Server upstream(echoes.front());
        Server server(entry, upstream.port());
        check(server);
    }
}

}  // namespace

TEST_CASE("1 MiB in odd pieces comes back in order, and then the end of the stream") {
    with_each([](Server& server) {
        const std::string sent = stream(std::size_t{1024} * 1024, 1);
        const Client client(server.port());
        auto sending = std::async(std::launch::async, [&] { send_in_odd_pieces(client, sent); });
        const std::string received = client.receive(sent.size());
        sending.get();
        const bool same = received == sent;
        CHECK(same);
        CHECK(client.receive().empty());
    });
}

TEST_CASE("what was sent before the half-close comes back after it, from full sockets too") {
    with_each([](Server& server) {
        const Client client(server.port());
        const std::string offered = stream(32 * std::size_t{1024} * 1024, 2);
        const std::string sent = offered.substr(0, client.stuff(offered));
        client.finish();
        const bool same = client.receive(sent.size()) == sent;
        CHECK(same);
        CHECK(client.receive().empty());
    });
}

TEST_CASE("a connection that says nothing, or does not read, does not hold up another") {
    with_each([](Server& server) {
        const Client silent(server.port());
        const Client stuffed(server.port());
        const std::string offered = stream(32 * std::size_t{1024} * 1024, 3);
        const std::string stuffing = offered.substr(0, stuffed.stuff(offered));
        const Client client(server.port());
        for (std::uint32_t i = 0; i < 100; ++i) {
            const std::string sent = stream(64, i);
            client.send(sent);
            CHECK(client.receive(sent.size()) == sent);
        }
        const bool same = stuffed.receive(stuffing.size()) == stuffing;
        CHECK(same);
        silent.finish();
        CHECK(silent.receive().empty());
    });
}

TEST_CASE("it goes on after connections that were reset") {
    with_each([](Server& server) {
        for (std::uint32_t i = 0; i < 20; ++i) {
            Client client(server.port());
            client.send(stream(100'000, i));
            client.abort();
        }
        const Client client(server.port());
        client.send("still there?");
        CHECK(client.receive(12) == "still there?");
    });
}

TEST_CASE("it is one process and ends on SIGTERM, with connections open") {
    with_each([](Server& server) {
        const Client client(server.port());
        client.send("x");
        CHECK(client.receive(1) == "x");
        CHECK(server.processes() == 1);
        const int status = server.end_with(SIGTERM);
        // HAProxy alone says by its status which signal it was.
        CHECK((status == 0 || status == 128 + SIGTERM));
    });
}
