#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>

#include "samples.h"

import ringfort.base;
import ringfort.channel;

using namespace ringfort;
using namespace ringfort::channel;

namespace {

struct Pipe {
    Fd read;
    Fd write;
};

Pipe open_pipe() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    return {Fd{ends[0]}, Fd{ends[1]}};
}

// Says whether a byte written to `write` comes out of `read`.
bool connected(const Fd& read, const Fd& write) {
    char byte = 'x';
    if (::write(write.get(), &byte, 1) != 1) return false;
    byte = 0;
    return ::read(read.get(), &byte, 1) == 1 && byte == 'x';
}

Received must_receive(Channel& channel) {
    auto received = channel.receive();
    REQUIRE(received);
    REQUIRE(*received);
    return **std::move(received);
}

// Runs `body` in a child process and returns its exit code, or 1000 + the signal that ended it.
template <class Body>
int in_child(Body body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(body());
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

std::uint32_t generation_of(const Message& message) {
    return std::get<Ready>(message).generation;
}

// Sends numbered messages until one is queued; returns how many were taken.
std::uint32_t fill(Channel& channel) {
    std::uint32_t count = 0;
    while (!channel.wants_write()) REQUIRE(channel.send(Ready{0, count++}));
    return count;
}

}  // namespace

TEST_CASE("every type of message arrives with descriptors that work") {
    const std::size_t before = samples::open_descriptors();
    {
        auto [here, there] = Channel::pair().value();
        for (const Message& message : samples::messages()) {
            INFO(kind(message).name);
            for (std::size_t count = kind(message).min_fds; count <= kind(message).max_fds;
                 ++count) {
                Pipe pipe = open_pipe();
                Fds fds;
                if (count == 1) fds.push(std::move(pipe.write));
                REQUIRE(here.send(message, std::move(fds)));
                const Received received = must_receive(there);
                REQUIRE(received.message == message);
                REQUIRE(received.fds.size() == count);
                if (count == 0) continue;
                REQUIRE(connected(pipe.read, received.fds[0]));
                REQUIRE((::fcntl(received.fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
            }
        }
    }
    REQUIRE(samples::open_descriptors() == before);
}

TEST_CASE("a channel with nothing to receive says so and wants nothing") {
    auto [here, there] = Channel::pair().value();
    const auto received = here.receive();
    REQUIRE(received);
    REQUIRE_FALSE(*received);
    REQUIRE_FALSE(here.wants_write());
    REQUIRE_FALSE(here.wants_retry());
    REQUIRE(here.flush());
    REQUIRE((::fcntl(here.fd(), F_GETFL) & O_NONBLOCK) != 0);
    REQUIRE((::fcntl(there.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a sent descriptor is closed here once it is sent") {
    auto [here, there] = Channel::pair().value();
    Pipe pipe = open_pipe();
    REQUIRE(here.send(OpenPeer{1, 1}, std::move(pipe.write)));
    {
        const Received received = must_receive(there);
    }
    char byte = 0;
    REQUIRE(::read(pipe.read.get(), &byte, 1) == 0);  // EOF: no copy of the write end is left
}

TEST_CASE("a wrong number of descriptors is refused before sending, and they are closed") {
    const std::size_t before = samples::open_descriptors();
    {
        auto [here, there] = Channel::pair().value();
        REQUIRE(here.send(AddListener{1, "echo", samples::address("*:1")})
                    .error()
                    .is(std::errc::invalid_argument));
        REQUIRE(here.send(Terminate{}, open_pipe().read).error().is(std::errc::invalid_argument));
        Fds two{open_pipe().read};
        two.push(open_pipe().read);
        REQUIRE(here.send(OpenPeer{1, 1}, std::move(two)).error().is(std::errc::invalid_argument));
        REQUIRE_FALSE(*there.receive());
    }
    REQUIRE(samples::open_descriptors() == before);
}

TEST_CASE("5,000 messages sent to a peer that does not read arrive in order once it does") {
    constexpr std::uint32_t total = 5'000;
    auto [here, there] = Channel::pair().value();
    for (std::uint32_t sent = 0; sent < total; ++sent) REQUIRE(here.send(Ready{0, sent}));
    REQUIRE(here.wants_write());
    REQUIRE(here.queued() > 0);
    std::uint32_t expected = 0;
    while (expected < total) {
        if (const auto received = there.receive().value())
            REQUIRE(generation_of(received->message) == expected++);
        else
            REQUIRE(here.flush());
    }
    REQUIRE(here.queued() == 0);
    REQUIRE_FALSE(here.wants_write());
    REQUIRE_FALSE(*there.receive());
}

TEST_CASE("a descriptor queued behind a full socket arrives and works") {
    auto [here, there] = Channel::pair().value();
    const std::uint32_t before = fill(here);
    Pipe pipe = open_pipe();
    REQUIRE(here.send(OpenPeer{7, 7}, std::move(pipe.write)));
    for (std::uint32_t count = 0; count < before; ++count) {
        REQUIRE(here.flush());
        REQUIRE(generation_of(must_receive(there).message) == count);
    }
    REQUIRE(here.flush());
    const Received received = must_receive(there);
    REQUIRE(received.message == Message{OpenPeer{7, 7}});
    REQUIRE(connected(pipe.read, received.fds[0]));
}

TEST_CASE("a message sent while others wait does not overtake them when there is room again") {
    auto [here, there] = Channel::pair().value();
    const std::uint32_t before = fill(here);
    std::uint32_t expected = 0;
    for (; expected + 1 < before; ++expected)
        REQUIRE(generation_of(must_receive(there).message) == expected);
    REQUIRE_FALSE(*there.receive());
    REQUIRE(here.send(Ready{0, before}));
    REQUIRE(here.flush());
    for (; expected <= before; ++expected)
        REQUIRE(generation_of(must_receive(there).message) == expected);
}

TEST_CASE("poll says when a full channel can be flushed") {
    auto [here, there] = Channel::pair().value();
    fill(here);
    pollfd query{here.fd(), POLLOUT, 0};
    REQUIRE(::poll(&query, 1, 0) == 0);
    while (there.receive().value()) {
    }
    REQUIRE(::poll(&query, 1, 0) == 1);
    REQUIRE(here.flush());
    REQUIRE(here.queued() == 0);
}

TEST_CASE("a full queue refuses a message and loses none of those it took") {
    const std::size_t open_before = samples::open_descriptors();
    auto [here, there] = Channel::pair().value();
    std::uint32_t taken = fill(here);
    while (here.queued() < limits::channel_queue_messages) REQUIRE(here.send(Ready{0, taken++}));
    REQUIRE(here.send(Ready{0, taken}).error().is(std::errc::no_buffer_space));
    REQUIRE(here.send(OpenPeer{1, 1}, open_pipe().read).error().is(std::errc::no_buffer_space));
    REQUIRE(samples::open_descriptors() == open_before + 2);
    std::uint32_t expected = 0;
    while (true) {
        REQUIRE(here.flush());
        const auto received = there.receive().value();
        if (!received) break;
        REQUIRE(generation_of(received->message) == expected++);
    }
    REQUIRE(expected == taken);
}

TEST_CASE("a closed peer is a reset connection to the receiver, a broken pipe to the sender") {
    auto [here, there] = Channel::pair().value();
    REQUIRE(there.send(Hello{1, 2}));
    {
        const Channel closed = std::move(there);
    }
    REQUIRE(must_receive(here).message == Message{Hello{1, 2}});
    for (int time = 0; time < 2; ++time)
        REQUIRE(here.receive().error().is(std::errc::connection_reset));
    REQUIRE(here.send(Hello{1, 2}).error().is(std::errc::broken_pipe));
    REQUIRE_FALSE(here.wants_write());
}

TEST_CASE("what a peer sent before it died with our messages unread is still received") {
    auto [here, there] = Channel::pair().value();
    REQUIRE(here.send(Drain{Milliseconds{1}}));
    const Message last_words = Failed{0, 1, 12, "io_uring_setup"};
    REQUIRE(there.send(last_words));
    {
        const Channel closed = std::move(there);
    }
    REQUIRE(must_receive(here).message == last_words);
    REQUIRE(here.receive().error().is(std::errc::connection_reset));
}

TEST_CASE("with the peer dead the queue is dropped, its descriptors closed, the error reported") {
    const std::size_t open_before = samples::open_descriptors();
    auto [here, there] = Channel::pair().value();
    fill(here);
    REQUIRE(here.send(OpenPeer{1, 1}, open_pipe().read));
    {
        const Channel closed = std::move(there);
    }
    const auto flushed = here.flush();
    REQUIRE_FALSE(flushed);
    const bool peer_gone = flushed.error().is(std::errc::broken_pipe) ||
                           flushed.error().is(std::errc::connection_reset);
    REQUIRE(peer_gone);
    REQUIRE(here.queued() == 0);
    REQUIRE_FALSE(here.wants_write());
    REQUIRE(samples::open_descriptors() == open_before + 1);
}

TEST_CASE("one channel end travels through another and speaks") {
    auto [master, worker] = Channel::pair().value();
    auto [peer_a, peer_b] = Channel::pair().value();
    REQUIRE(master.send(OpenPeer{3, 1}, std::move(peer_b).release()));
    Received opened = must_receive(worker);
    Channel arrived = Channel::adopt(std::move(opened.fds[0]));
    REQUIRE(arrived.send(Hello{2, 1}));
    REQUIRE(must_receive(peer_a).message == Message{Hello{2, 1}});
}

TEST_CASE("messages and descriptors pass between processes") {
    auto [master, worker] = Channel::pair().value();
    Pipe pipe = open_pipe();
    REQUIRE(master.send(OpenPeer{1, 1}, std::move(pipe.write)));
    const int code = in_child([&] {
        {
            const Channel not_mine = std::move(master);
        }
        const auto opened = worker.receive();
        if (!opened || !*opened) return 1;
        if (::write((*opened)->fds[0].get(), "w", 1) != 1) return 2;
        return worker.send(Ready{1, 1}) ? 0 : 3;
    });
    REQUIRE(code == 0);
    char byte = 0;
    REQUIRE(::read(pipe.read.get(), &byte, 1) == 1);
    REQUIRE(byte == 'w');
    REQUIRE(must_receive(master).message == Message{Ready{1, 1}});
}

TEST_CASE("too many descriptors in flight make the channel wait for a retry, not for poll") {
    const int code = in_child([] {
        // The limit binds neither root nor whoever has its capabilities.
        if (::geteuid() == 0 && ::setuid(65'534) != 0) return 1;
        auto [here, there] = Channel::pair().value();
        const rlimit few{16, 16};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
        std::uint32_t sent = 0;
        for (; sent < 64 && !here.wants_retry(); ++sent)
            if (!here.send(OpenPeer{0, sent}, Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}))
                return 3;
        if (!here.wants_retry() || here.wants_write() || here.queued() != 1) return 4;
        std::uint32_t arrived = 0;
        while (const auto received = there.receive().value()) {
            if (std::get<OpenPeer>(received->message).generation != arrived++) return 5;
            if (!here.flush()) return 6;
        }
        return arrived == sent && !here.wants_retry() ? 0 : 7;
    });
    REQUIRE(code == 0);
}
