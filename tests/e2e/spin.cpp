// A server with faults: whoever sends "spin" has its worker compute for ever, and if it is told to,
// no worker starts. All else comes back.
#include <chrono>
#include <coroutine>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

import ringfort;

namespace rf = ringfort;

namespace {

/// Never returns. Not inlined, so that a stack shows it.
[[gnu::noinline]] void compute_for_ever() {
    for (volatile int i = 0;;) i = i + 1;
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
            co_await co_await peer.post(std::move(chunk));
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    return rf::App{"spin", "Hangs when it is told to."}.service<Spin>().run(argc, argv);
}
