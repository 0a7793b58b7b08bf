/// The services of the imaginary application that tests/config reads configurations for.
export module services;

import ringfort.base;
import ringfort.config;
import ringfort.std;

export namespace services {

namespace rf = ringfort;
using rf::config::table;

struct Echo {
    rf::Milliseconds idle_timeout{60'000};
    bool shout = false;
    std::string greeting;
    friend bool operator==(const Echo&, const Echo&) = default;
};

enum class Balance { round_robin, least_connections };

struct Tls {
    std::string certificate;
    std::optional<std::uint32_t> version;
    friend bool operator==(const Tls&, const Tls&) = default;
};

struct Route {
    std::string prefix;
    std::vector<std::string> methods{"GET"};
    friend bool operator==(const Route&, const Route&) = default;
};

struct Proxy {
    std::vector<rf::Address> upstreams;
    Balance balance = Balance::round_robin;
    std::optional<Balance> fallback;
    std::optional<std::string> name;
    std::int64_t bias = -5;
    rf::Bytes buffer{64 * 1024};
    std::vector<std::uint32_t> retries{1, 2};
    Tls tls;
    std::vector<Route> routes;
    friend bool operator==(const Proxy&, const Proxy&) = default;
};

/// A service none of the listeners needs.
struct Picky {
    std::string secret;
    friend bool operator==(const Picky&, const Picky&) = default;
};

rf::config::Registry registry() {
    const rf::config::Names<Balance> names{{"round-robin", Balance::round_robin},
                                           {"least-connections", Balance::least_connections}};
    rf::config::Registry registry;
    registry.add("echo",
                 table<Echo>("Sends back what it gets.")
                     .field("idle_timeout_ms", &Echo::idle_timeout,
                            "close after this long without a byte", {.min = 1})
                     .field("shout", &Echo::shout, "in capitals")
                     .field("greeting", &Echo::greeting, "sent first"),
                 {.datagrams = true});
    registry.add(
        "proxy",
        table<Proxy>("Relays to upstreams.")
            .field("upstreams", &Proxy::upstreams, "where to", {.required = true, .min_items = 1})
            .field("balance", &Proxy::balance, "whose turn it is", names)
            .field("fallback", &Proxy::fallback, "if that fails", names)
            .field("name", &Proxy::name, "for people")
            .field("bias", &Proxy::bias, "a signed number", {.min = -10, .max = 10})
            .field("buffer", &Proxy::buffer, "a|size", {.min = 1024, .max = 1 << 20})
            .field("retries", &Proxy::retries, "some numbers", {.min = 1, .max_items = 4})
            .table("tls", &Proxy::tls,
                   table<Tls>("Encryption.")
                       .field("certificate", &Tls::certificate, "a path")
                       .field("version", &Tls::version, "the protocol", {.min = 2, .max = 3}))
            .tables("route", &Proxy::routes,
                    table<Route>("A way.")
                        .field("prefix", &Route::prefix, "how it begins", {.required = true})
                        .field("methods", &Route::methods, "which")));
    registry.add(
        "picky",
        table<Picky>("Wants a secret.").field("secret", &Picky::secret, "any", {.required = true}));
    return registry;
}

}  // namespace services
