#include "swarm.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "deadline.h"
#include "endpoint.h"
#include "owned_fd.h"
#include "pattern.h"

namespace e2e {
namespace {

constexpr std::size_t opening_bytes = 64;

struct Member {
    OwnedFd fd;
    Pattern pattern{0};
    std::size_t sent = 0;
    std::size_t received = 0;
    bool served = false;  ///< has its opening bytes back
    bool done = false;
    bool writing = true;  ///< EPOLLOUT is asked for
};

class Swarm {
public:
    Swarm(const Endpoint& endpoint, SwarmOptions options, Deadline deadline)
        : options_{options}, deadline_{deadline}, poller_{::epoll_create1(EPOLL_CLOEXEC)} {
        members_.resize(options.connections);
        for (std::size_t i = 0; i < members_.size(); ++i) open(i, endpoint);
    }

    SwarmReport run() {
        std::vector<epoll_event> events(256);
        while (ended_ < members_.size() && !deadline_.expired()) {
            const int ready =
                ::epoll_wait(poller_.get(), events.data(), static_cast<int>(events.size()),
                             deadline_.remaining_ms());
            for (int i = 0; i < ready; ++i) {
                const epoll_event& event = events[static_cast<std::size_t>(i)];
                Member& member = members_[event.data.u64];
                if (!member.done && (event.events & ~EPOLLOUT) != 0) receive(member);
                if (!member.done && (event.events & EPOLLOUT) != 0) send(member);
            }
            open_gate();
        }
        for (Member& member : members_)
            if (!member.done)
                end(member, "timed out with " + std::to_string(member.received) + " bytes back");
        return std::move(report_);
    }

private:
    void open(std::size_t index, const Endpoint& endpoint) {
        Member& member = members_[index];
        member.pattern = Pattern{options_.seed * 1'000'003 + index};
        member.fd =
            OwnedFd{::socket(endpoint.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        if (!member.fd) return end(member, "socket: " + reason());
        const int result = ::connect(member.fd.get(), endpoint.data(), endpoint.size());
        if (result != 0 && errno != EINPROGRESS) return end(member, "connect: " + reason());
        epoll_event event{EPOLLIN | EPOLLOUT, {.u64 = index}};
        ::epoll_ctl(poller_.get(), EPOLL_CTL_ADD, member.fd.get(), &event);
    }

    [[nodiscard]] std::size_t limit() const {
        return gate_open_ ? options_.bytes_each : std::min(opening_bytes, options_.bytes_each);
    }

    void open_gate() {
        if (gate_open_ || served_ + failed_ < members_.size()) return;
        gate_open_ = true;
        report_.served_at_once = served_;
        for (Member& member : members_)
            if (!member.done) send(member);
    }

    void send(Member& member) {
        char piece[8 * 1024];
        while (member.sent < limit()) {
            const std::size_t size = std::min(sizeof piece, limit() - member.sent);
            member.pattern.fill(member.sent, {piece, size});
            const ssize_t sent = ::send(member.fd.get(), piece, size, MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == ENOTCONN)) return want(member, true);
            if (sent < 0) return end(member, "send: " + reason());
            member.sent += static_cast<std::size_t>(sent);
        }
        want(member, false);
        if (member.sent == options_.bytes_each) ::shutdown(member.fd.get(), SHUT_WR);
    }

    void receive(Member& member) {
        char piece[8 * 1024];
        while (true) {
            const ssize_t got = ::recv(member.fd.get(), piece, sizeof piece, 0);
            if (got < 0 && (errno == EAGAIN || errno == ENOTCONN)) return;
            if (got < 0) return end(member, "receive: " + reason());
            if (got == 0)
                return end(member, member.received == options_.bytes_each
                                       ? ""
                                       : "ended after " + std::to_string(member.received));
            const auto size = static_cast<std::size_t>(got);
            if (member.received + size > options_.bytes_each) return end(member, "too many bytes");
            if (member.pattern.first_difference(member.received, std::span{piece, size}))
                return end(member, "wrong data");
            member.received += size;
            if (!member.served && member.received >= std::min(opening_bytes, options_.bytes_each)) {
                member.served = true;
                ++served_;
            }
        }
    }

    void want(Member& member, bool writing) {
        if (member.writing == writing) return;
        member.writing = writing;
        const auto index = static_cast<std::uint64_t>(&member - members_.data());
        epoll_event event{EPOLLIN | (writing ? EPOLLOUT : 0u), {.u64 = index}};
        ::epoll_ctl(poller_.get(), EPOLL_CTL_MOD, member.fd.get(), &event);
    }

    void end(Member& member, const std::string& failure) {
        member.done = true;
        member.fd.close();
        ++ended_;
        if (failure.empty())
            ++report_.completed;
        else
            ++report_.failures[failure];
        if (!gate_open_ && !member.served) ++failed_;
    }

    [[nodiscard]] static std::string reason() { return std::generic_category().message(errno); }

    SwarmOptions options_;
    Deadline deadline_;
    OwnedFd poller_;
    std::vector<Member> members_;
    SwarmReport report_;
    bool gate_open_ = false;
    std::size_t served_ = 0;
    std::size_t failed_ = 0;  ///< before the gate opened, without having been served
    std::size_t ended_ = 0;
};

}  // namespace

std::string SwarmReport::text() const {
    std::string result = std::to_string(completed) + " completed";
    for (const auto& [reason, count] : failures)
        result += ", " + std::to_string(count) + " " + reason;
    return result;
}

SwarmReport run_swarm(const Endpoint& endpoint, SwarmOptions options, Deadline deadline) {
    return Swarm{endpoint, options, deadline}.run();
}

}  // namespace e2e
