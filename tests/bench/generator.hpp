#pragma once
// The load generator: closed loops over many connections, every byte checked, every failure
// counted. It uses nothing of Ringfort, so that it cannot share a bug with what it measures.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "histogram.hpp"

namespace bench {

/// What to send, where to and for how long.
struct LoadOptions {
    std::string host = "127.0.0.1";  ///< an IPv4 address in digits
    std::uint16_t port = 0;
    std::uint32_t connections = 1;   ///< at most 2^24
    std::size_t payload_bytes = 64;  ///< of one request and its answer; at most 16 MiB
    std::uint32_t depth = 1;         ///< requests in flight on one connection
    std::chrono::milliseconds warmup{200};
    std::chrono::milliseconds duration{1000};
    std::chrono::milliseconds timeout{5000};  ///< for a connect, an answer and the final EOF
    std::function<void()> window_begins;      ///< called when the counting begins
    std::function<void()> window_ends;        ///< called when the counting ends
    std::function<bool()> interrupted;        ///< asked about every 50 ms; true ends the run
};

/// Counts of connections that ended in another way than they should; each ends in one way only.
struct Failures {
    std::uint64_t refused = 0;     ///< the connect was refused
    std::uint64_t reset = 0;       ///< ECONNRESET or EPIPE
    std::uint64_t early_eof = 0;   ///< the server closed before we did
    std::uint64_t timed_out = 0;   ///< no connect, no answer or no EOF in time
    std::uint64_t mismatched = 0;  ///< an answer differs from its request
    std::uint64_t excess = 0;      ///< the server sent more than it was sent
    std::uint64_t other = 0;       ///< any other error of a system call
    [[nodiscard]] std::uint64_t total() const {
        return refused + reset + early_eof + timed_out + mismatched + excess + other;
    }
};

/// What one run saw.
struct LoadReport {
    std::uint64_t requests = 0;  ///< answered and verified inside the window
    double seconds = 0;          ///< length of the window
    Histogram latency;           ///< of the requests answered inside the window
    Failures failures;           ///< of the whole run, warm-up and end included
    std::uint64_t lost = 0;      ///< requests that never got their answer
    bool interrupted = false;
    /// Tells whether every byte came back and at least one request was answered in the window.
    [[nodiscard]] bool clean() const {
        return failures.total() == 0 && lost == 0 && requests > 0 && !interrupted;
    }
};

/// Runs one load: connects, warms up, counts, waits for the answers still due, closes its half and
/// waits for the server to close the other. Blocks. Throws std::system_error when the run cannot be
/// set up (too many connections for the fd limit, a bad address).
[[nodiscard]] LoadReport run_load(const LoadOptions& options);

/// Describes the report in one line of JSON, without a newline.
[[nodiscard]] std::string to_json(const LoadOptions& options, const LoadReport& report);

/// Describes the failures for people: "2 reset, 1 mismatched"; empty when there are none.
[[nodiscard]] std::string describe(const LoadReport& report);

}  // namespace bench
