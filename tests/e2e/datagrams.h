#pragma once
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"

namespace e2e {

/// A client of UDP. It is connected: what does not come from where it has sent to does not reach
/// it.
class DatagramClient {
public:
    explicit DatagramClient(const Endpoint& endpoint);
    void send(std::string_view text) const;
    /// Returns what comes; "(nothing)" when nothing does in time.
    [[nodiscard]] std::string receive(Deadline deadline = soon()) const;
    [[nodiscard]] std::string ask(std::string_view text, Deadline deadline = soon()) const {
        send(text);
        return receive(deadline);
    }
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

private:
    OwnedFd socket_;
};

/// Questions without end, several at a time from each of several sockets, to a service that echoes.
/// None is asked twice: one that is not answered within a few seconds is lost.
class DatagramLoad {
public:
    explicit DatagramLoad(const Endpoint& endpoint, int sockets = 8);
    ~DatagramLoad() { stop(); }
    DatagramLoad(const DatagramLoad&) = delete;
    DatagramLoad& operator=(const DatagramLoad&) = delete;

    [[nodiscard]] std::uint64_t answered() const;
    [[nodiscard]] bool wait_for_more(std::uint64_t more, Deadline deadline = later()) const;
    /// Asks no more, waits for the answers, and returns how many questions were lost.
    std::uint64_t stop();

private:
    void run(const std::stop_token& token, const Endpoint& endpoint);

    mutable std::mutex mutex_;
    std::uint64_t answered_ = 0;
    std::uint64_t lost_ = 0;
    std::vector<std::jthread> threads_;
};

}  // namespace e2e
