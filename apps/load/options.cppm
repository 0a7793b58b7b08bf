export module load:options;

import ringfort;
import ringfort.std;

export namespace load {

/// What the connections do.
enum class Mode : std::uint8_t {
    echo,   ///< requests and their answers, `depth` of them in flight on each connection
    churn,  ///< connect, one request, close; over and over
    bulk,   ///< as many bytes as the server takes, both ways at once
    idle,   ///< one request, then nothing
};

/// Returns the mode's name as the command line spells it.
[[nodiscard]] constexpr std::string_view name_of(Mode mode) {
    switch (mode) {
        case Mode::echo:
            return "echo";
        case Mode::churn:
            return "churn";
        case Mode::bulk:
            return "bulk";
        case Mode::idle:
            return "idle";
    }
    return "";
}

/// How far a run has come.
struct Progress {
    double seconds = 0;          ///< since the first connect
    std::uint64_t answered = 0;  ///< requests, since then
    std::uint64_t failures = 0;
    std::uint32_t connections = 0;  ///< alive
};

/// The most connections one run may have, the largest request, and the deepest pipeline.
inline constexpr std::uint32_t max_connections = 1U << 24;
inline constexpr std::size_t max_payload_bytes = 16U << 20;
inline constexpr std::uint32_t max_depth = 4'096;
/// The largest request of a connection that sends it as a whole before it reads: churn and idle.
inline constexpr std::size_t max_single_payload_bytes = 64U << 10;

/// What to send, where to and for how long.
struct Options {
    ringfort::Address target = {};
    Mode mode = Mode::echo;
    std::uint32_t connections = 1;
    std::size_t payload_bytes = 64;  ///< of one request and its answer
    std::uint32_t depth = 1;         ///< requests in flight on one connection; echo only
    double rate_per_s = 0;           ///< of all connections together; 0: as fast as answers come
    ringfort::Milliseconds warmup{200};
    ringfort::Milliseconds duration{1'000};
    ringfort::Milliseconds timeout{5'000};  ///< for a connect, an answer and the final end
    // None of these may throw: what runs when they are called cannot be left in the middle.
    std::function<void()> before_connecting = {};
    std::function<void()> window_begins = {};            ///< when the counting begins
    std::function<void()> window_ends = {};              ///< when the counting ends
    std::function<bool()> interrupted = {};              ///< asked every 50 ms; true ends the run
    std::function<void(const Progress&)> progress = {};  ///< told every 50 ms
};

}  // namespace load
