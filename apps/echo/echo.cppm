module;
#include <ringfort/try.h>
/// The echo service: sends back what it receives (RFC 862), over TCP, UDP and unix sockets.
export module echo;

import ringfort;
import ringfort.std;
export import :limit;
namespace rf = ringfort;

export class Echo {
public:
    static constexpr std::string_view name = "echo";
    struct Config {
        rf::Milliseconds idle_timeout{60'000};
        ClientLimit::Config limit;
    };
    static auto schema() {
        return rf::config::table<Config>("The echo service: sends back what it receives.")
            .field("idle_timeout_ms", &Config::idle_timeout, "close after this long without a byte",
                   {.min = 1})
            .table("limit", &Config::limit, ClientLimit::schema());
    }
    static std::vector<rf::ZoneUse> zones(const Config& config) {
        return ClientLimit::zones(config.limit);
    }

    explicit Echo(Config config) : config_{std::move(config)}, limit_{config_.limit} {}

    rf::Result<void> start(rf::worker::Context& context) { return limit_.start(context); }

    [[clang::coro_wrapper]] rf::Task<rf::Result<void>> work(rf::worker::Context& context) {
        return limit_.work(context);
    }

    [[clang::coro_wrapper]] rf::Task<rf::Result<void>> serve(rf::net::Stream peer,
                                                             rf::worker::Context& context) {
        if (config_.limit.zone.empty()) return echo<rf::net::Stream>(std::move(peer));
        return serve_counted(std::move(peer), context);
    }

    rf::Task<rf::Result<void>> on_datagram(rf::net::Delivery datagram, rf::worker::Context&) {
        co_return co_await datagram.reply(datagram.bytes(), config_.idle_timeout);
    }

private:
    rf::Task<rf::Result<void>> serve_counted(rf::net::Stream peer, rf::worker::Context& context) {
        RF_CO_LET(const rf::Address address, peer.peer());
        const std::string client = address.is_unix() ? "unix" : address.host();
        if (!co_await limit_.admit(client, context))
            co_return rf::Error{"serve: too many connections of this client",
                                std::errc::permission_denied};
        const auto result = co_await echo<rf::net::Stream&>(peer);
        co_await limit_.leave(client, context);  // before it is closed: the client may come again
        co_return result;
    }

    template <class Peer>
    rf::Task<rf::Result<void>> echo(Peer peer) {
        for (;;) {
            RF_CO_LET(auto chunk, co_await peer.receive(config_.idle_timeout));
            if (chunk.empty()) co_return co_await peer.flush(config_.idle_timeout);
            RF_CO_TRY(co_await peer.post(std::move(chunk), config_.idle_timeout));
        }
    }

    Config config_;
    ClientLimit limit_;
};
