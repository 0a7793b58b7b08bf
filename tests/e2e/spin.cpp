// A server with faults: whoever sends "spin" has its worker compute for ever, and if it is told to,
// no worker starts. "getenv NAME" is answered with the variable, "stderr TEXT" has the text written
// to standard error. With a zone called "numbers", "count" is answered with a number that is
// counted there, "hold" counts as well and computes for ever in the middle of it, "stop" stops its
// worker there. All else comes back.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <ringfort/try.h>

import ringfort;

namespace rf = ringfort;

namespace {

/// Never returns. Not inlined, so that a stack shows it.
[[gnu::noinline]] void compute_for_ever() {
    for (volatile int i = 0;;) i = i + 1;
}

/// Returns what follows `start`; nothing when `text` does not begin with it.
std::optional<std::string_view> rest(std::string_view text, std::string_view start) {
    if (!text.starts_with(start)) return {};
    return text.substr(start.size());
}

struct Spin {
    static constexpr std::string_view name = "spin";
    struct Config {
        bool refuses = false;
    };
    static auto schema() {
        return rf::config::table<Config>("Hangs when it is told to.")
            .field("refuses", &Config::refuses, "let no worker start");
    }

    using Numbers = rf::shm::MapOf<std::string, std::uint64_t>;
    std::optional<rf::shm::Pool> pool = {};
    std::optional<Numbers> numbers = {};

    explicit Spin(const Config& config) {
        if (config.refuses) throw std::runtime_error{"it refuses to start"};
    }

    rf::Result<void> start(rf::worker::Context& context) {
        const auto found = context.pool("numbers");
        if (!found) return {};
        pool = *found;
        RF_LET(numbers, Numbers::open_or_create(*pool, 0));
        return {};
    }

    /// Counts, or begins to.
    rf::Task<rf::Result<std::uint64_t>> count(std::string_view how, rf::worker::Context& context) {
        auto change = co_await co_await context.begin(*pool);
        const std::uint64_t number = (co_await numbers->get(change, "all")).value_or(0) + 1;
        co_await numbers->put(change, "all", number);
        if (how == "hold") compute_for_ever();
        if (how == "stop") (void)::raise(SIGSTOP);
        co_await change.commit();
        co_return number;
    }

    rf::Task<rf::Result<void>> serve(rf::net::Stream peer, rf::worker::Context& context) {
        for (;;) {
            auto chunk = co_await co_await peer.receive();
            if (chunk.empty()) co_return co_await peer.flush();
            if (chunk.text() == "spin") compute_for_ever();
            if (chunk.text() == "count" || chunk.text() == "hold" || chunk.text() == "stop") {
                const auto number = co_await count(chunk.text(), context);
                const std::string answer = number ? std::to_string(*number) : number.error().text();
                co_await co_await peer.send_all(answer);
                continue;
            }
            if (const auto wanted = rest(chunk.text(), "getenv ")) {
                const char* value = std::getenv(std::string{*wanted}.c_str());
                const std::string_view answer = value == nullptr ? "not set" : value;
                co_await co_await peer.send_all(answer);
                continue;
            }
            if (const auto text = rest(chunk.text(), "stderr "))
                (void)!::write(STDERR_FILENO, text->data(), text->size());
            co_await co_await peer.post(std::move(chunk));
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    return rf::App{"spin", "Hangs when it is told to."}.service<Spin>().run(argc, argv);
}
