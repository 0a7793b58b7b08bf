#pragma once
// An echo server that makes one chosen mistake: the control of the load generator.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

namespace bench {

/// The mistake. All but the last three happen once, at the chosen answer.
enum class Fault {
    none,
    corrupt,      ///< one bit of one byte is wrong
    close_early,  ///< the connection is closed instead of answered
    reset,        ///< the connection is reset instead of answered
    drop,         ///< the answer is never sent
    repeat,       ///< the answer is sent twice
    swap,         ///< the answer and the next one of another connection go to the wrong clients
    pause,        ///< the chosen answer and those behind it come 200 ms late
    stall,        ///< from the chosen answer on, nothing is answered any more
    refuse,       ///< no connection is accepted, the port refuses
    last_word,    ///< a byte nobody asked for comes after the client has closed its half
    stay_open,    ///< the connection is never closed
};

/// Serves in a thread of its own on a port of 127.0.0.1 until it is destroyed. Throws
/// std::system_error when it cannot be set up.
class FaultyServer {
public:
    /// Makes `fault` at answer number `at`, counted over all connections.
    explicit FaultyServer(Fault fault, std::uint64_t at = 10);
    ~FaultyServer();
    FaultyServer(const FaultyServer&) = delete;
    FaultyServer& operator=(const FaultyServer&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// Returns how many connections were accepted so far.
    [[nodiscard]] std::uint64_t connections() const { return connections_; }

private:
    using Bytes = std::span<std::byte>;
    enum class After { keep, close };

    void serve();
    After on_readable(int fd);
    After on_end(int fd);
    After misbehave(int fd, Bytes answer);
    static After send_all(int fd, Bytes bytes);

    Fault fault_;
    std::uint64_t at_;
    std::uint64_t answers_ = 0;
    std::atomic<std::uint64_t> connections_ = 0;
    int listener_ = -1;
    int stop_ = -1;
    std::uint16_t port_ = 0;
    int held_fd_ = -1;             // swap: whose answer is being held
    std::vector<std::byte> held_;  // swap: that answer
    std::vector<std::byte> buffer_;
    std::thread thread_;
};

}  // namespace bench
