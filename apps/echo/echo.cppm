module;
#include <ringfort/try.h>
#include <chrono>
#include <coroutine>
#include <exception>
#include <optional>
#include <string_view>
#include <utility>
/// The echo service: sends back what it receives (RFC 862), over TCP, UDP and unix sockets.
export module echo;

import ringfort;
namespace rf = ringfort;

export struct Echo {
    static constexpr std::string_view name = "echo";
    struct Config {
        rf::Milliseconds idle_timeout{60'000};
    };
    static auto schema() {
        return rf::config::table<Config>("The echo service: sends back what it receives.")
            .field("idle_timeout_ms", &Config::idle_timeout, "close after this long without a byte",
                   {.min = 1});
    }

    Config config;

    rf::Task<rf::Result<void>> serve(rf::net::Stream peer, rf::worker::Context&) {
        for (;;) {
            RF_CO_LET(auto chunk, co_await peer.receive(config.idle_timeout));
            if (chunk.empty()) co_return co_await peer.flush(config.idle_timeout);
            RF_CO_TRY(co_await peer.post(std::move(chunk), config.idle_timeout));
        }
    }

    rf::Task<rf::Result<void>> on_datagram(rf::net::Delivery datagram, rf::worker::Context&) {
        co_return co_await datagram.reply(datagram.bytes(), config.idle_timeout);
    }
};
