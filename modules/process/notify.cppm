module;
#include <sys/types.h>
export module ringfort.process:notify;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// The service manager that has started this process and wants to know how it is doing; or nobody,
/// and then nothing is said. What its socket has no room for is said later, in order.
/// Source: sd_notify(3), sd_watchdog_enabled(3).
class ServiceManager {
public:
    /// Knows none.
    ServiceManager() noexcept = default;
    /// Finds it by NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID and FDSTORE, and takes them out of
    /// the environment: no child is to speak in this process's name.
    [[nodiscard]] static ServiceManager of_environment();

    /// Tells whether there is one.
    [[nodiscard]] bool present() const noexcept { return static_cast<bool>(socket_); }
    /// Says that the service serves, and about what; also at the end of a reload, good or bad.
    void ready(std::string_view status);
    /// Says that a reload has begun, `time` being when.
    void reloading(Instant time);
    /// Says that the end has begun.
    void stopping(std::string_view status);
    /// Says that another process goes on as the main one, and serves; to be the last word.
    void hand_over(pid_t successor, std::string_view status);
    /// Tells whether it keeps descriptors for the next start of the service: FDSTORE says so, of
    /// systemd 254 and later (FileDescriptorStoreMax=).
    [[nodiscard]] bool keeps_descriptors() const noexcept { return !keeps_.empty(); }
    /// Has it keep copies of these under `name`, beside what it keeps there already.
    void keep(std::string_view name, std::span<const RawFd> fds);
    /// Has it close what it keeps under `name`.
    void forget(std::string_view name);
    /// Returns the variables by which that process finds the manager; none when there is none.
    [[nodiscard]] std::vector<std::string> environment() const;

    /// Tells whether something is left to be said.
    [[nodiscard]] bool has_unsent() const noexcept { return !unsent_.empty(); }
    /// Returns when `beat` is to be called next; nothing when nobody watches, and nothing is left
    /// to be said.
    [[nodiscard]] std::optional<Instant> next_beat() const noexcept;
    /// Says that the service lives, when it is time to, and what the manager did not take before.
    void beat(Instant time) noexcept;

private:
    struct Message {
        std::string text;
        std::vector<Fd> fds;
    };
    void tell(Message message);
    [[nodiscard]] bool send(const Message& message) const noexcept;

    Fd socket_;
    Address address_;
    std::string path_;
    std::string keeps_;         ///< how many, in its words
    Milliseconds interval_{0};  ///< half of what the manager waits
    std::optional<Instant> next_beat_;
    std::deque<Message> unsent_;  ///< its socket was full
    Instant retry_{};             ///< when they are tried again, if there are some
};

}  // namespace ringfort::process
