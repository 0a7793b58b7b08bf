#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "connection.h"
#include "deadline.h"
#include "endpoint.h"

namespace e2e {

/// Short connections without end to a service that echoes, from several threads: connect, send,
/// compare what comes back, close one half, expect the end. Counts, never throws.
class Load {
public:
    explicit Load(Endpoint endpoint, std::size_t threads = 3);
    ~Load();
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    [[nodiscard]] std::uint64_t completed() const;
    [[nodiscard]] std::uint64_t failed() const;
    /// How many ended in this way.
    [[nodiscard]] std::uint64_t failed(Failure failure) const;
    /// Waits until `more` further connections that were opened from now on have completed.
    [[nodiscard]] bool wait_for_more(std::uint64_t more, Deadline deadline = later());
    void stop();
    /// Every kind of failure with an example, for messages.
    [[nodiscard]] std::string text() const;

private:
    void run(const std::stop_token& token, std::uint64_t seed);
    void once(std::uint64_t seed) const;

    Endpoint endpoint_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::uint64_t completed_ = 0;
    std::map<Failure, std::uint64_t> failures_;
    std::map<Failure, std::string> examples_;
    std::vector<std::jthread> threads_;
};

}  // namespace e2e
