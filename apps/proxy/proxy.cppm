/// The proxy service: relays a connection, byte by byte, to one of its upstreams.
export module proxy;

import ringfort;
import ringfort.std;
namespace rf = ringfort;

export class Proxy {
public:
    static constexpr std::string_view name = "proxy";
    struct Config {
        std::vector<rf::Address> upstreams;
        rf::Milliseconds connect_timeout{5'000};
        rf::Milliseconds idle_timeout{600'000};
    };
    static auto schema() {
        return rf::config::table<Config>("The proxy service: relays TCP and unix connections.")
            .field("upstreams", &Config::upstreams,
                   "where connections go, in turn; one that cannot be reached is passed over",
                   {.required = true, .min_items = 1})
            .field("connect_timeout_ms", &Config::connect_timeout,
                   "how long to wait for each upstream in turn", {.min = 1})
            .field("idle_timeout_ms", &Config::idle_timeout,
                   "close after this long without a byte in either direction", {.min = 1});
    }

    static rf::Reach reach(const Config& config) { return {.connect = config.upstreams}; }

    explicit Proxy(Config config) : config_{std::move(config)} {}

    /// Relays until both sides have ended. Without a reachable upstream, the client is closed.
    rf::Task<rf::Result<void>> serve(rf::net::Stream client, rf::worker::Context& worker);

private:
    rf::Task<rf::Result<rf::net::Stream>> connect(rf::uring::Loop& loop);

    Config config_;
    std::size_t next_ = 0;  ///< whose turn it is
};
