#include "load.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <utility>

#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "pattern.h"

namespace e2e {

Load::Load(Endpoint endpoint, std::size_t threads) : endpoint_{std::move(endpoint)} {
    for (std::size_t i = 0; i < threads; ++i)
        threads_.emplace_back(
            [this, i](const std::stop_token& token) { run(token, (i + 1) << 32); });
}

Load::~Load() {
    stop();
}

void Load::stop() {
    for (auto& thread : threads_) thread.request_stop();
    threads_.clear();
}

void Load::once(std::uint64_t seed) const {
    const std::string text = Pattern{seed}.bytes(1 + seed % 5'000);
    Connection connection = Connection::to(endpoint_);
    connection.echo(text);
    connection.shutdown_write();
    connection.expect_end();
}

void Load::run(const std::stop_token& token, std::uint64_t seed) {
    while (!token.stop_requested()) {
        Failure failure{};
        std::string what;
        try {
            once(++seed);
        } catch (const NetError& error) {
            failure = error.failure;
            what = error.what();
        }
        const std::lock_guard lock{mutex_};
        if (what.empty()) {
            ++completed_;
        } else {
            ++failures_[failure];
            examples_[failure] = what;
        }
        changed_.notify_all();
    }
}

std::uint64_t Load::completed() const {
    const std::lock_guard lock{mutex_};
    return completed_;
}

std::uint64_t Load::failed() const {
    const std::lock_guard lock{mutex_};
    std::uint64_t sum = 0;
    for (const auto& [failure, count] : failures_) sum += count;
    return sum;
}

std::uint64_t Load::failed(Failure failure) const {
    const std::lock_guard lock{mutex_};
    const auto found = failures_.find(failure);
    return found == failures_.end() ? 0 : found->second;
}

bool Load::wait_for_more(std::uint64_t more, Deadline deadline) {
    std::unique_lock lock{mutex_};
    // One connection a thread may have been under way already.
    const std::uint64_t target = completed_ + more + threads_.size();
    while (completed_ < target && !deadline.expired())
        changed_.wait_for(lock, std::chrono::milliseconds{deadline.remaining_ms()});
    return completed_ >= target;
}

std::string Load::text() const {
    const std::lock_guard lock{mutex_};
    std::string result = std::to_string(completed_) + " completed";
    for (const auto& [failure, count] : failures_)
        result += ", " + std::to_string(count) + " failed (" + examples_.at(failure) + ")";
    return result;
}

}  // namespace e2e
