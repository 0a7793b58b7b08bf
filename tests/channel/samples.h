/// One message of every type, and counting this process's descriptors: for the tests of this layer.
#ifndef RINGFORT_TESTS_CHANNEL_SAMPLES_H
#define RINGFORT_TESTS_CHANNEL_SAMPLES_H

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <variant>
#include <vector>

import ringfort.channel;
import ringfort.base;

namespace samples {

inline ringfort::Address address(const char* text) {
    return ringfort::Address::parse(text).value();
}

inline std::vector<ringfort::channel::Message> messages() {
    using namespace ringfort::channel;
    return {
        AddListener{7, "echo", address("127.0.0.1:7000")},
        AddZone{"limits", "counters/1", ringfort::Bytes{4 << 20}},
        Start{255, 3, 1'023, ringfort::Milliseconds{30'000}},
        Drain{ringfort::Milliseconds{1'500}},
        Terminate{},
        ReopenLogs{},
        OpenPeer{4, 2},
        ClosePeer{4, 2},
        Ready{1, 9},
        Failed{2, 9, 98, "bind: Address already in use"},
        Draining{3, 8, 10'000},
        Hello{5, 4'000'000'000U},
        OfferListener{ListenerUse::foreign, address("127.0.0.1:0")},
        OfferFile{FileUse::pid_file, "/run/echo.pid"},
        Text{TextUse::configuration, true, "[master]\nworkers = 2\n"},
        User{"www-data", 33, 34, {33, 34, 1'000}},
        Succession{12, true},
        TakenRow{1'023},
        Done{true},
        SetLogLevel{ringfort::log::Level::debug},
        RemoveListener{1'000'000},
        ServiceMessage{"echo", 77, std::string{"a\0b", 3}},
        FileOwner{1'999, 33, {}},
        Shortcoming{2, 9, "no io_uring, so epoll is used"},
    };
}

inline std::size_t open_descriptors() {
    std::filesystem::directory_iterator entries{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

}  // namespace samples

#endif
