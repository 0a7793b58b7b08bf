module;
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>
module ringfort.net;

import ringfort.base;

namespace ringfort::net {
namespace {

constexpr int pipe_size = static_cast<int>(limits::relay_pipe_size.count);

/// A send by splice(2) cannot be told not to raise SIGPIPE, which ends a process by default.
void ignore_pipe_signal() noexcept {
    struct sigaction current{};
    ::sigaction(SIGPIPE, nullptr, &current);
    if (current.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

Pipe::~Pipe() {
    if (pool_ != nullptr) pool_->give_back(*this);
}

Result<std::size_t> Pipe::fill(RawFd socket) noexcept {
    const auto moved = ::splice(socket, nullptr, write_.get(), nullptr,
                                limits::relay_pipe_size.count - size_, SPLICE_F_NONBLOCK);
    if (moved < 0) return Error::last("receive by splice");
    size_ += static_cast<std::size_t>(moved);
    pool_->filled_ += static_cast<std::size_t>(moved);
    return static_cast<std::size_t>(moved);
}

Result<std::size_t> Pipe::drain(RawFd socket) noexcept {
    const auto moved = ::splice(read_.get(), nullptr, socket, nullptr, size_, SPLICE_F_NONBLOCK);
    if (moved < 0) return Error::last("send by splice");
    size_ -= static_cast<std::size_t>(moved);
    return static_cast<std::size_t>(moved);
}

PipePool::~PipePool() {
    ensure(lent_ == 0, "a pool of pipes was destroyed with pipes lent");
}

PipePool& PipePool::of_this_thread() noexcept {
    thread_local PipePool pool;
    return pool;
}

Result<Pipe> PipePool::take() noexcept {
    if (lent_ >= limit_) return Error{"take a pipe", EAGAIN};
    if (!idle_.empty()) {
        Ends ends = std::move(idle_.back());
        idle_.pop_back();
        return lend(std::move(ends.read), std::move(ends.write));
    }
    ignore_pipe_signal();
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return Error::last("pipe");
    Fd read{fds[0]};
    Fd write{fds[1]};
    if (::fcntl(write.get(), F_SETPIPE_SZ, pipe_size) < pipe_size)
        return Error{"size a pipe", EPERM};
    return lend(std::move(read), std::move(write));
}

Pipe PipePool::lend(Fd read, Fd write) noexcept {
    ++lent_;
    ++taken_;
    return Pipe{*this, std::move(read), std::move(write)};
}

void PipePool::give_back(Pipe& pipe) noexcept {
    --lent_;
    if (pipe.size_ == 0 && idle_.size() < limits::relay_idle_pipes)
        idle_.push_back({std::move(pipe.read_), std::move(pipe.write_)});
}

}  // namespace ringfort::net
