export module load:report;

import ringfort.std;
import :histogram;

export namespace load {

/// Counts of connections that ended in another way than they should; each ends in one way only.
struct Failures {
    std::uint64_t refused = 0;     ///< the connect was refused
    std::uint64_t reset = 0;       ///< ECONNRESET or EPIPE
    std::uint64_t early_eof = 0;   ///< the server closed before we did
    std::uint64_t timed_out = 0;   ///< no connect, no answer or no end in time
    std::uint64_t mismatched = 0;  ///< an answer differs from its request
    std::uint64_t excess = 0;      ///< the server sent more than it was sent
    std::uint64_t other = 0;       ///< any other error of a system call
    [[nodiscard]] std::uint64_t total() const {
        return refused + reset + early_eof + timed_out + mismatched + excess + other;
    }
};

/// How many requests had been answered at a moment of the window.
struct Sample {
    double seconds = 0;  ///< since the window began
    std::uint64_t requests = 0;
};

/// What one run saw.
struct Report {
    std::uint64_t requests = 0;  ///< answered and verified inside the window; idle: at all
    std::uint64_t bytes = 0;     ///< received and verified inside the window
    double seconds = 0;          ///< length of the window
    /// Of the requests answered inside the window; at a fixed rate of those due inside it, the ones
    /// that were never sent or never answered with the time they waited. Not of bulk.
    Histogram latency;
    std::vector<Sample> samples;
    Failures failures;            ///< of the whole run, warm-up and end included
    std::uint64_t lost = 0;       ///< requests that never got their answer
    std::uint64_t behind = 0;     ///< at a fixed rate: due, but not sent when the window ended
    std::uint32_t connected = 0;  ///< the most connections that were open at once
    std::string first_error;      ///< what the first `other` failure was
    bool interrupted = false;
    /// Tells whether every byte came back and at least one request was answered.
    [[nodiscard]] bool clean() const {
        return failures.total() == 0 && lost == 0 && requests > 0 && !interrupted;
    }
};

}  // namespace load
