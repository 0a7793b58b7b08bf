#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "samples.h"

import ringfort.base;
import ringfort.channel;

using namespace ringfort;
using namespace ringfort::channel;

namespace {

// A channel end under test and, at the other one, a peer that sends what it likes.
struct Hostile {
    Fd socket;
    Channel channel;

    static Hostile open() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) == 0);
        return {Fd{ends[0]}, Channel::adopt(Fd{ends[1]})};
    }

    // Sends any bytes with `count` copies of one descriptor.
    void send(std::span<const std::byte> packet, std::size_t count = 0) const {
        iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
        std::vector<int> raw(count, socket.get());
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * 253)> control{};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        if (count != 0) {
            header.msg_control = control.data();
            header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
            cmsghdr* rights = CMSG_FIRSTHDR(&header);
            rights->cmsg_level = SOL_SOCKET;
            rights->cmsg_type = SCM_RIGHTS;
            rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
            std::memcpy(CMSG_DATA(rights), raw.data(), sizeof(int) * count);
        }
        REQUIRE(::sendmsg(socket.get(), &header, MSG_NOSIGNAL) ==
                static_cast<ssize_t>(packet.size()));
    }
};

Packet sample(const Message& message) {
    return encode(message).value();
}

Packet random_packet(std::mt19937& random) {
    const auto pick = [&](std::size_t below) { return random() % below; };
    const auto byte = [&] { return static_cast<std::byte>(random()); };
    Packet packet;
    if (pick(4) == 0) {
        packet.resize(pick(limits::max_message_bytes + 100));
        std::generate(packet.begin(), packet.end(), byte);
        return packet;
    }
    static const auto messages = samples::messages();
    packet = sample(messages[pick(messages.size())]);
    for (std::size_t left = pick(4); left > 0; --left) packet[pick(packet.size())] = byte();
    if (pick(8) == 0) packet.resize(pick(packet.size() + 8));
    return packet;
}

}  // namespace

TEST_CASE("garbage is refused without a crash and without a descriptor left open") {
    std::mt19937 random{20'260'101};
    Hostile peer = Hostile::open();
    const std::size_t before = samples::open_descriptors();
    std::size_t accepted = 0;
    std::size_t refused = 0;
    for (int round = 0; round < 40'000; ++round) {
        const Packet packet = random_packet(random);
        const std::size_t count = random() % 4 == 0 ? random() % 20 : random() % 2;
        peer.send(packet, count);
        const auto received = peer.channel.receive();
        if (received) {
            REQUIRE(*received);
            REQUIRE((*received)->fds.size() == count);
            REQUIRE(encode((*received)->message));  // valid, so it can be said again
            ++accepted;
        } else {
            const Error& error = received.error();
            const bool named = error.is(std::errc::bad_message) ||
                               error.is(std::errc::protocol_error) ||
                               error.is(std::errc::message_size);
            REQUIRE(named);
            ++refused;
        }
        if (round % 1'000 == 0) REQUIRE(samples::open_descriptors() <= before + count);
    }
    REQUIRE(samples::open_descriptors() == before);
    REQUIRE(accepted > 1'000);
    REQUIRE(refused > 10'000);
}

TEST_CASE("whatever decodes is a message that can be encoded again") {
    std::mt19937 random{7};
    for (int round = 0; round < 100'000; ++round) {
        Packet packet = random_packet(random);
        if (const auto decoded = decode(packet, random() % 3)) REQUIRE(encode(*decoded));
    }
}

TEST_CASE("descriptors nobody expected are closed, however many") {
    Hostile peer = Hostile::open();
    const std::size_t before = samples::open_descriptors();
    const Packet one_expected = sample(OpenPeer{1, 1});
    const Packet none_expected = sample(Terminate{});
    for (const std::size_t count :
         {2UL, 3UL, limits::max_message_fds, limits::max_message_fds + 1, 253UL}) {
        for (const Packet& packet : {one_expected, none_expected}) {
            peer.send(packet, count);
            REQUIRE(peer.channel.receive().error().is(std::errc::bad_message));
            REQUIRE(samples::open_descriptors() == before);
        }
    }
    peer.send(one_expected, 0);
    REQUIRE(peer.channel.receive().error().is(std::errc::bad_message));
    peer.send(one_expected, 1);  // the channel goes on
    REQUIRE(peer.channel.receive().value());
}

TEST_CASE("a packet longer than any message is refused with its descriptors") {
    Hostile peer = Hostile::open();
    const std::size_t before = samples::open_descriptors();
    Packet packet = sample(OpenPeer{1, 1});
    packet.resize(limits::max_message_bytes + 1);
    peer.send(packet, 1);
    REQUIRE(peer.channel.receive().error().is(std::errc::message_size));
    REQUIRE(samples::open_descriptors() == before);
}

TEST_CASE("an empty packet is garbage, not the end of the channel") {
    Hostile peer = Hostile::open();
    const std::size_t before = samples::open_descriptors();
    peer.send({});
    REQUIRE(peer.channel.receive().error().is(std::errc::bad_message));
    peer.send({}, 1);
    REQUIRE(peer.channel.receive().error().is(std::errc::bad_message));
    REQUIRE(samples::open_descriptors() == before);
    REQUIRE_FALSE(*peer.channel.receive());
    REQUIRE(::shutdown(peer.socket.get(), SHUT_WR) == 0);
    REQUIRE(peer.channel.receive().error().is(std::errc::connection_reset));
}

TEST_CASE("a full descriptor table is told apart, and nothing received stays open") {
    Hostile peer = Hostile::open();
    const std::size_t before = samples::open_descriptors();
    rlimit whole{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &whole) == 0);
    const Packet opened = sample(OpenPeer{1, 1});
    for (const rlim_t room : {rlim_t{0}, rlim_t{2}}) {
        const std::size_t count = room + 1;
        peer.send(opened, count);
        // Every number below the lowest free one is taken: `room` are left at most.
        Fd lowest{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        REQUIRE(lowest);
        const rlimit full{static_cast<rlim_t>(lowest.get()) + room, whole.rlim_max};
        lowest.close();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &full) == 0);
        const auto received = peer.channel.receive();
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &whole) == 0);
        REQUIRE_FALSE(received);
        REQUIRE(received.error().is(std::errc::too_many_files_open));
        REQUIRE(samples::open_descriptors() == before);
    }
    peer.send(opened, 1);
    REQUIRE(peer.channel.receive().value());
}
