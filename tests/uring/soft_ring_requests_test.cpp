#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.uring;

#include "sockets.h"
#include "soft_ring_bench.h"
#include "soft_ring_sockets.h"

using namespace ringfort;
using testing::Bench;
using testing::Buffers;
using testing::compare;
using uring::BufferUse;

namespace {

constexpr std::uint16_t group = 3;

struct Envelope {
    msghdr header{};
    std::vector<iovec> parts;
    sockaddr_in name{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 2)> control{};

    void add(void* bytes, std::size_t length) {
        parts.push_back({bytes, length});
        header.msg_iov = parts.data();
        header.msg_iovlen = parts.size();
    }
    void with_name() {
        header.msg_name = &name;
        header.msg_namelen = sizeof name;
    }
    void with_control() {
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }
    void carry(int fd) {
        with_control();
        cmsghdr* message = CMSG_FIRSTHDR(&header);
        message->cmsg_level = SOL_SOCKET;
        message->cmsg_type = SCM_RIGHTS;
        message->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(message), &fd, sizeof fd);
        header.msg_controllen = CMSG_SPACE(sizeof fd);
    }
};

std::vector<Fd> carried(msghdr& header) {
    std::vector<Fd> fds;
    for (cmsghdr* message = CMSG_FIRSTHDR(&header); message != nullptr;
         message = CMSG_NXTHDR(&header, message)) {
        if (message->cmsg_type != SCM_RIGHTS) continue;
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(message), sizeof fd);
        fds.emplace_back(fd);
    }
    return fds;
}

}  // namespace

TEST_CASE("a message of several parts is sent and received, now or later") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        std::array<char, 4> first{};
        std::array<char, 8> second{};
        Envelope in;
        in.add(first.data(), first.size());
        in.add(second.data(), second.size());
        bench.submit(1, io_uring_prep_recvmsg, near.get(), &in.header, 0);
        bench.expect_nothing();
        std::string a = "abcdef";
        std::string b = "ghi";
        Envelope out;
        out.add(a.data(), a.size());
        out.add(b.data(), b.size());
        bench.submit(2, io_uring_prep_sendmsg, far.get(), &out.header, 0);
        (void)bench.expect(2);
        bench.note("{} {} {}", std::string_view{first.data(), 4},
                   std::string_view{second.data(), 5}, in.header.msg_flags);
    });
}

TEST_CASE("a message brings descriptors") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        auto [given, other] = testing::socket_pair();
        char byte = 'x';
        Envelope out;
        out.add(&byte, 1);
        out.carry(given.get());
        bench.submit(1, io_uring_prep_sendmsg, far.get(), &out.header, 0);
        (void)bench.expect(1);
        char got = 0;
        Envelope in;
        in.add(&got, 1);
        in.with_control();
        bench.submit(2, io_uring_prep_recvmsg, near.get(), &in.header, MSG_CMSG_CLOEXEC);
        (void)bench.expect(1);
        bench.note("{} {} {}", got, in.header.msg_controllen, in.header.msg_flags);
        auto fds = carried(in.header);
        REQUIRE(fds.size() == 1);
        bench.note("{}", ::fcntl(fds[0].get(), F_GETFD));
        testing::put(fds[0].get(), "through");
        bench.note("{}", testing::get(other.get()));
    });
}

TEST_CASE("a message of all is sent and received part by part") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        testing::shrink(near.get(), 8'192);
        std::string a(200'000, 'a');
        std::string b(300'000, 'b');
        Envelope out;
        out.add(a.data(), a.size());
        out.add(b.data(), b.size());
        bench.submit(1, io_uring_prep_sendmsg, near.get(), &out.header, MSG_WAITALL);
        std::string c(100'000, ' ');
        std::string d(400'000, ' ');
        Envelope in;
        in.add(c.data(), c.size());
        in.add(d.data(), d.size());
        bench.submit(2, io_uring_prep_recvmsg, far.get(), &in.header, MSG_WAITALL);
        (void)bench.expect(2);
        bench.note("{}", c + d == a + b);
    });
}

TEST_CASE("a datagram's sender is told, and what did not fit") {
    compare([](Bench& bench) {
        const auto to = testing::bound(SOCK_DGRAM);
        const auto from = testing::bound(SOCK_DGRAM);
        std::string text = "0123456789";
        Envelope out;
        out.add(text.data(), text.size());
        out.name = testing::address_of(to.get());
        out.with_name();
        bench.submit(1, io_uring_prep_sendmsg, from.get(), &out.header, 0);
        (void)bench.expect(1);
        std::array<char, 6> bytes{};
        Envelope in;
        in.add(bytes.data(), bytes.size());
        in.with_name();
        bench.submit(2, io_uring_prep_recvmsg, to.get(), &in.header, 0);
        (void)bench.expect(1);
        bench.note("{} {} {}", in.header.msg_namelen, in.header.msg_flags,
                   in.name.sin_port == testing::address_of(from.get()).sin_port);
    });
}

TEST_CASE("a message is received into a provided buffer") {
    compare([](Bench& bench) {
        auto [near, far] = testing::socket_pair();
        Buffers buffers{bench.backend, group, 4, 8};
        const auto receive = [&](std::uint64_t user_data, Envelope& in) {
            auto& sqe = bench.submit(user_data, io_uring_prep_recvmsg, near.get(), &in.header, 0);
            testing::pick_buffer(sqe, group);
        };
        Envelope any;
        receive(1, any);
        (void)bench.expect(1);
        buffers.add(3);
        buffers.add(1);
        testing::put(far.get(), "0123456789");
        receive(2, any);
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        Envelope one_byte;
        one_byte.add(nullptr, 1);
        receive(3, one_byte);
        for (const auto& one : bench.expect(1)) bench.note("{}", buffers.text(one));
        Envelope two_parts;
        two_parts.add(nullptr, 1);
        two_parts.add(nullptr, 1);
        receive(4, two_parts);
        (void)bench.expect(1);
    });
}

TEST_CASE("multishot messages are laid out with name, control and payload") {
    compare([](Bench& bench) {
        const auto to = testing::bound(SOCK_DGRAM);
        const auto from = testing::bound(SOCK_DGRAM);
        const auto address = testing::address_of(to.get());
        const auto port = testing::address_of(from.get()).sin_port;
        const int on = 1;
        REQUIRE(::setsockopt(to.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0);
        Buffers buffers{bench.backend, group, 4, 128};
        buffers.add_all();
        Envelope layout;
        layout.header.msg_namelen = sizeof(sockaddr_in);
        layout.header.msg_controllen = 48;
        auto& sqe = bench.submit(1, io_uring_prep_recvmsg_multishot, to.get(), &layout.header, 0);
        testing::pick_buffer(sqe, group);
        (void)bench.turn();
        for (const std::string& text :
             {std::string{"short"}, std::string(100, 'l'), std::string{}}) {
            REQUIRE(::sendto(from.get(), text.data(), text.size(), 0,
                             reinterpret_cast<const sockaddr*>(&address),
                             sizeof address) == static_cast<ssize_t>(text.size()));
            const auto found = bench.expect(1);
            REQUIRE(found.size() == 1);
            auto* memory = buffers.at(found[0].buffer());
            auto* out = io_uring_recvmsg_validate(memory, found[0].result, &layout.header);
            REQUIRE(out != nullptr);
            bench.note("name {} control {} payload {} flags {}", out->namelen, out->controllen,
                       out->payloadlen, out->flags);
            sockaddr_in name{};
            std::memcpy(&name, io_uring_recvmsg_name(out), sizeof name);
            bench.note("{}", name.sin_port == port);
            const auto* first = io_uring_recvmsg_cmsg_firsthdr(out, &layout.header);
            bench.note("{}", first != nullptr && first->cmsg_type == IP_PKTINFO);
            const auto length =
                io_uring_recvmsg_payload_length(out, found[0].result, &layout.header);
            bench.note("{}", std::string_view{
                                 static_cast<char*>(io_uring_recvmsg_payload(out, &layout.header)),
                                 length});
        }
    });
}

TEST_CASE("multishot messages end when buffers lack or are too small") {
    compare([](Bench& bench) {
        const auto to = testing::bound(SOCK_DGRAM);
        const auto from = testing::bound(SOCK_DGRAM);
        const auto address = testing::address_of(to.get());
        Envelope layout;
        layout.header.msg_namelen = 16;
        Buffers buffers{bench.backend, group, 4, 64};
        const auto receive = [&](std::uint64_t user_data) {
            auto& sqe = bench.submit(user_data, io_uring_prep_recvmsg_multishot, to.get(),
                                     &layout.header, 0);
            testing::pick_buffer(sqe, group);
        };
        const auto send = [&] {
            REQUIRE(::sendto(from.get(), "abc", 3, 0, reinterpret_cast<const sockaddr*>(&address),
                             sizeof address) == 3);
        };
        receive(1);
        (void)bench.expect(1);
        buffers.add(0, 20);
        receive(2);
        (void)bench.expect(1);
        send();
        receive(3);
        (void)bench.expect(1);  // the buffer was not used up
    });
}
