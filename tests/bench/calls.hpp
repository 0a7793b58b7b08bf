#pragma once
// Counts the system calls of a server by the kernel's tracepoints: exact, and so cheap that the
// server hardly notices, unlike strace.
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace bench {

/// Makes the tracepoints visible, in a mount namespace of our own where nobody else has. To be
/// called before servers are started. Returns why they cannot be; empty when they can.
[[nodiscard]] std::string find_tracepoints();

/// Counts from its construction on; the processes' threads of then, and what they start.
class CallCounter {
public:
    /// Throws std::runtime_error when the kernel refuses.
    explicit CallCounter(const std::vector<pid_t>& processes);
    ~CallCounter();
    CallCounter(const CallCounter&) = delete;
    CallCounter& operator=(const CallCounter&) = delete;

    /// Returns the calls of io_uring_enter(2) so far.
    [[nodiscard]] std::uint64_t enters() const { return sum(enters_); }
    /// Returns the system calls of every kind so far.
    [[nodiscard]] std::uint64_t all() const { return sum(all_); }
    /// Returns how often memory was asked for from the C library's allocator so far; nothing where
    /// the kernel cannot count calls of a library's functions.
    [[nodiscard]] std::optional<std::uint64_t> allocations() const;

private:
    static std::uint64_t sum(const std::vector<int>& counters);

    std::vector<int> enters_;
    std::vector<int> all_;
    std::vector<int> allocations_;  // empty when they cannot be counted
};

}  // namespace bench
