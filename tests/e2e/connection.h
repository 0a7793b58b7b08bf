#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"

namespace e2e {

enum class Failure { refused, reset, ended, timed_out, wrong_data, other };
[[nodiscard]] std::string_view name(Failure failure) noexcept;

/// Thrown by everything a connection does when it does not go as the caller said it would.
struct NetError : std::runtime_error {
    NetError(Failure which, const std::string& what)
        : std::runtime_error{std::string{name(which)} + ": " + what}, failure{which} {}
    Failure failure;
};

/// A run of pattern bytes.
struct Flow {
    std::uint64_t seed = 0;
    std::uint64_t bytes = 0;
};

enum class Ending { eof, reset };

/// A blocking stream socket whose every step has a deadline. Used for clients and, made of an
/// accepted socket, for upstreams.
class Connection {
public:
    /// Connects. Throws NetError (refused, timed_out, other).
    [[nodiscard]] static Connection to(const Endpoint& endpoint, Deadline deadline = soon());
    /// Takes over a connected socket.
    explicit Connection(OwnedFd fd);

    void send(std::string_view bytes, Deadline deadline = soon());
    /// Sends a pattern; adds to `progress`, if given, what the kernel has taken.
    void send(Flow flow, Deadline deadline, std::atomic<std::uint64_t>* progress = nullptr);
    /// Returns exactly `size` bytes. Throws `ended` when the peer closes before.
    [[nodiscard]] std::string receive(std::size_t size, Deadline deadline = soon());
    /// Receives exactly this pattern. Throws `wrong_data` at the first wrong byte.
    void receive(Flow flow, Deadline deadline);
    /// Returns all up to the end of the stream.
    [[nodiscard]] std::string receive_to_end(Deadline deadline = soon());
    /// Expects the end of the stream and nothing before it.
    void expect_end(Deadline deadline = soon());
    /// Waits until the peer is gone, politely or not; drops data that still comes.
    [[nodiscard]] Ending wait_gone(Deadline deadline = soon());
    /// Sends `text` and expects it back.
    void echo(std::string_view text, Deadline deadline = soon());
    /// Says whether there is neither data nor an end to be read for `time`.
    [[nodiscard]] bool silent_for(milliseconds time);
    void shutdown_write();
    /// Closes with a RST (SO_LINGER 0).
    void reset();
    void close() noexcept { fd_.close(); }
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

private:
    [[nodiscard]] std::size_t receive_some(char* into, std::size_t size, Deadline deadline);
    [[nodiscard]] std::size_t send_some(const char* from, std::size_t size, Deadline deadline);
    OwnedFd fd_;
};

/// Says whether a connection attempt is refused: nobody listens there.
[[nodiscard]] bool refuses(const Endpoint& endpoint);

/// Sends `out` and closes that half while receiving `in` up to its end, both at once.
void exchange(Connection& connection, Flow out, Flow in, Deadline deadline);

}  // namespace e2e
