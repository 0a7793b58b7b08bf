// What a service's author writes, with no header at all: the schema's templates must find all
// they need in the module.
import ringfort.base;
import ringfort.config;

namespace {

namespace rf = ringfort;

enum class Mood { good, bad };

struct Config {
    rf::Milliseconds idle_timeout{60'000};
    Mood mood = Mood::good;
    bool shout = false;
    unsigned count = 3;
    rf::Bytes size{4'096};
    rf::Address peer;
};

auto schema() {
    return rf::config::table<Config>("Echo service")
        .field("idle_timeout_ms", &Config::idle_timeout, "close after this long without a byte")
        .field("mood", &Config::mood, "how it feels",
               rf::config::Names<Mood>{{"good", Mood::good}, {"bad", Mood::bad}})
        .field("shout", &Config::shout, "in capitals")
        .field("count", &Config::count, "how often", {.min = 1, .max = 9})
        .field("size", &Config::size, "how much")
        .field("peer", &Config::peer, "whose");
}

}  // namespace

/// Returns the count of a service's configuration, 0 if it could not be read.
unsigned count_of_lightest_service() {
    rf::config::Registry registry;
    registry.add("light", schema());
    const auto parsed = rf::config::parse(
        {"t.toml",
         "[service.light]\ncount = 5\n[[listener]]\naddress = \"*:0\"\nservice = \"light\"\n"},
        registry);
    return parsed ? parsed->service<Config>("light").count : 0;
}
