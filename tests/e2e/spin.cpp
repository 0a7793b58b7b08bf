// A server with faults: whoever sends "spin" has its worker compute for ever, and if it is told to,
// no worker starts. "getenv NAME" is answered with the variable, "stderr TEXT" has the text written
// to standard error. All else comes back.
#include <unistd.h>

#include <chrono>
#include <coroutine>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

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

    explicit Spin(const Config& config) {
        if (config.refuses) throw std::runtime_error{"it refuses to start"};
    }

    rf::Task<rf::Result<void>> serve(rf::net::Stream peer, rf::worker::Context&) {
        for (;;) {
            auto chunk = co_await co_await peer.receive();
            if (chunk.empty()) co_return co_await peer.flush();
            if (chunk.text() == "spin") compute_for_ever();
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
