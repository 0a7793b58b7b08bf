#pragma once
// The contestants as a test sees them: what there is, one running, a client of it.
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bench {

/// One line of contestants.txt.
struct Entry {
    std::string kind;  ///< echo or relay
    std::string name;
    std::vector<std::string> command;  ///< with @PORT@ and @UPSTREAM_PORT@
};

/// Reads the list of what was built. Throws std::runtime_error when it cannot.
[[nodiscard]] std::vector<Entry> built_contestants(const std::string& kind);

/// A running contestant. The destructor kills it.
class Server {
public:
    /// Starts it on a port of the kernel's choice and waits at most ten seconds for the line that
    /// says which. Throws std::runtime_error when it does not come.
    explicit Server(const Entry& entry, std::uint16_t upstream_port = 0);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    [[nodiscard]] std::uint16_t port() const { return port_; }

    /// How many processes there are: itself and its children.
    [[nodiscard]] std::size_t processes() const;

    /// Sends the signal and waits at most ten seconds. Returns the exit status, or 128 and the
    /// signal that ended it, or -1 when it goes on.
    [[nodiscard]] int end_with(int signal);

private:
    pid_t pid_ = -1;
    std::uint16_t port_ = 0;
};

/// A blocking TCP connection whose sends and receives give up after ten seconds. All functions
/// throw std::system_error on failure.
class Client {
public:
    explicit Client(std::uint16_t port);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    void send(const std::string& bytes) const;
    /// Sends until nobody has taken a byte for 100 ms. Returns how many bytes were taken.
    [[nodiscard]] std::size_t stuff(const std::string& bytes) const;
    void finish() const;  ///< closes our half
    void abort();         ///< ends with a reset

    /// Returns at least one byte, or nothing at the end of the stream.
    [[nodiscard]] std::string receive() const;
    /// Returns that many bytes, or fewer at the end of the stream.
    [[nodiscard]] std::string receive(std::size_t size) const;

private:
    int fd_ = -1;
};

}  // namespace bench
