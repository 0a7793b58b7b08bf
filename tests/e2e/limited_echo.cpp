#include "limited_echo.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"
#include "text.h"

namespace e2e {

std::string zone_of(std::string_view size, std::string_view more) {
    return "\n[[zone]]\nname = \"limits\"\nsize = \"" + std::string{size} + "\"\n" +
           std::string{more};
}

std::string limit(const std::string& keys) {
    return "\n[service.echo.limit]\nzone = \"limits\"\n" + keys;
}

Config limited(const std::string& keys, std::string_view size) {
    Config config;
    config.drain_timeout_ms = 60'000;
    config.more = zone_of(size) + limit(keys);
    return config;
}

Connection from(const std::string& address, const Endpoint& server) {
    OwnedFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const Endpoint own = Endpoint::parse(address + ":0");
    REQUIRE(::bind(socket.get(), own.data(), own.size()) == 0);
    REQUIRE(::connect(socket.get(), server.data(), server.size()) == 0);
    return Connection{std::move(socket)};
}

std::optional<Connection> try_to_enter(const Endpoint& server) {
    Connection connection = Connection::to(server);
    try {
        connection.echo("may I");
    } catch (const NetError&) {
        return std::nullopt;
    }
    return connection;
}

std::vector<Connection> enter(const Endpoint& server, std::size_t most) {
    std::vector<Connection> held;
    while (held.size() < most)
        if (auto entered = try_to_enter(server))
            held.push_back(*std::move(entered));
        else
            break;
    return held;
}

bool fills_up(std::vector<Connection>& held, const Endpoint& server, std::size_t to) {
    return eventually(soon(), [&] {
        for (Connection& one : enter(server, to - held.size())) held.push_back(std::move(one));
        return held.size() == to;
    });
}

std::size_t still_served(std::vector<Connection>& held) {
    std::erase_if(held, [](Connection& one) {
        try {
            one.echo("still here");
            return false;
        } catch (const NetError&) {
            return true;
        }
    });
    return held.size();
}

std::string zone_file(pid_t server, std::string_view zone) {
    for (const auto& entry :
         std::filesystem::directory_iterator{"/proc/" + std::to_string(server) + "/fd"}) {
        std::error_code gone;
        const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
        if (has(target, "memfd:") && has(target, zone)) return entry.path().string();
    }
    FAIL("the server has no zone " << zone);
    return {};
}

}  // namespace e2e
