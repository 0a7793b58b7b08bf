#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.uring;

#include "../coro/death.h"
#include "../uring/run_beside.h"

using namespace ringfort;
using coro::Task;
using net::Datagram;

namespace {

const Address any = Address::parse("127.0.0.1:0").value();

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

/// The content of datagram `number`: different for each, of different lengths, some empty.
std::string content(std::uint32_t number) {
    std::string text(number % 1'400, '\0');
    std::uint32_t seed = number * 2'654'435'761U + 1;
    for (char& c : text) c = static_cast<char>((seed = seed * 1'664'525 + 1'013'904'223) >> 24);
    return text;
}

Task<> echo(Datagram& socket, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto packet = co_await socket.receive();
        ensure(packet.has_value(), "receive");
        ensure((co_await socket.send_to(packet->sender, packet->bytes.bytes())).has_value(),
               "send");
    }
}

}  // namespace

TEST_CASE("ten thousand datagrams are echoed with their content, their length and their sender") {
    auto loop = uring::Loop::open().value();
    constexpr std::uint32_t total = 10'000;
    constexpr std::uint32_t window = 32;
    auto body = [](uring::Loop& on) -> Task<std::uint32_t> {
        auto server = Datagram::bind(on, any).value();
        const auto address = server.address().value();
        auto client = Datagram::connect(on, address).value();
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(echo(server, total));
        std::uint32_t right = 0;
        for (std::uint32_t sent = 0, received = 0; received < total; ++received) {
            for (; sent < total && sent < received + window; ++sent)
                ensure((co_await client.send(bytes_of(content(sent)))).has_value(), "send");
            const auto packet = co_await client.receive(Milliseconds{5'000});
            ensure(packet.has_value(), "receive");
            if (packet->bytes.text() == content(received) && packet->sender == address &&
                !packet->truncated && packet->segment_size == 0)
                ++right;
        }
        co_await scope.join();
        co_return right;
    };
    CHECK(loop->run(body(*loop)) == total);
    CHECK(loop->message_buffers().leased() == 0);
}

TEST_CASE("segments are sent in one pass, and come as one packet where that was asked for") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        auto joined = Datagram::bind(on, any, {.coalesce = true}).value();
        auto apart = Datagram::bind(on, any).value();
        auto sender = Datagram::bind(on, any).value();
        std::string text;
        for (std::uint32_t i = 0; i < 20; ++i)
            text += std::string(1'000, static_cast<char>('a' + i));
        text += "the rest";
        const auto to_joined = joined.address().value();
        const auto to_apart = apart.address().value();
        ensure((co_await sender.send_segments_to(to_joined, bytes_of(text), 1'000)).has_value(),
               "");
        ensure((co_await sender.send_segments_to(to_apart, bytes_of(text), 1'000)).has_value(), "");
        std::string together;
        while (together.size() < text.size()) {
            const auto packet = co_await joined.receive(Milliseconds{2'000});
            ensure(packet.has_value() && packet->segment_size == 1'000, "segment size");
            together += packet->bytes.text();
        }
        ensure(together == text, "the bytes of the joined ones");
        for (std::uint32_t i = 0; i < 21; ++i) {
            const auto packet = co_await apart.receive(Milliseconds{2'000});
            ensure(packet.has_value() && packet->segment_size == 0, "one datagram");
            ensure(packet->bytes.text() == text.substr(i * 1'000, 1'000), "the bytes of one");
        }
        // A single one says nothing of segments.
        ensure((co_await sender.send_to(to_joined, bytes_of("alone"))).has_value(), "send");
        const auto alone = co_await joined.receive(Milliseconds{2'000});
        ensure(alone->bytes.text() == "alone" && alone->segment_size == 0, "alone");
        const std::string long_text(70'000, 'x');
        const auto refused = co_await sender.send_to(to_joined, bytes_of(long_text));
        ensure(refused.error().is(std::errc::message_size), "too long for a datagram");
    };
    loop->run(body(*loop));
}

TEST_CASE("segments are refused above the size of a datagram and above the kernel's number") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        auto receiver = Datagram::bind(on, any).value();
        auto sender = Datagram::bind(on, any).value();
        const auto to = receiver.address().value();
        const std::string text(65'508, 'x');
        const auto send = [&](std::size_t size, std::uint16_t segment) {
            return sender.send_segments_to(to, bytes_of(text).first(size), segment);
        };
        CHECK((co_await send(65'507, 1'400)).has_value());
        CHECK((co_await send(65'508, 1'400)).error().is(std::errc::message_size));
        CHECK((co_await send(64 * 100, 100)).has_value());
        // Older kernels take 64, newer ones 128.
        CHECK((co_await send(128 * 100 + 1, 100)).error().is(std::errc::invalid_argument));
        CHECK((co_await sender.send_to(to, bytes_of(text))).error().is(std::errc::message_size));
    };
    loop->run(body(*loop));
}

TEST_CASE("a datagram longer than a buffer is cut off and says so, and the next is whole") {
    auto loop = uring::Loop::open({.message_buffer_size = {2'048}}).value();
    auto body = [](uring::Loop& on) -> Task<> {
        auto socket = Datagram::bind(on, any).value();
        const auto address = socket.address().value();
        const std::string text = content(1'399);
        const std::string longer = text + text;
        ensure((co_await socket.send_to(address, bytes_of(longer))).has_value(), "send");
        ensure((co_await socket.send_to(address, bytes_of(text))).has_value(), "send");
        const auto cut = co_await socket.receive(Milliseconds{2'000});
        ensure(cut.has_value() && cut->truncated, "it does not say so");
        ensure(cut->bytes.size() > 1'500 && cut->bytes.size() < 2'048, "what is left of it");
        ensure(longer.starts_with(cut->bytes.text()), "its beginning");
        const auto whole = co_await socket.receive(Milliseconds{2'000});
        ensure(!whole->truncated && whole->bytes.text() == text, "the next");
    };
    loop->run(body(*loop));
}

TEST_CASE("datagrams wait in the socket while every buffer is held, and none is lost") {
    auto loop = uring::Loop::open({.message_buffers = 2, .max_message_buffers = 4}).value();
    auto body = [](uring::Loop& on) -> Task<> {
        auto socket = Datagram::bind(on, any).value();
        const auto address = socket.address().value();
        for (std::uint32_t i = 0; i < 20; ++i)
            ensure((co_await socket.send_to(address, bytes_of(content(i)))).has_value(), "send");
        std::vector<net::Packet> held;
        for (std::uint32_t i = 0; i < 4; ++i)
            held.push_back((co_await socket.receive(Milliseconds{2'000})).value());
        ensure(on.message_buffers().active() == 4, "no more buffers than allowed");
        const auto turns = on.statistics().turns;
        const auto starved = co_await socket.receive(Milliseconds{30});
        ensure(starved.error().is(std::errc::timed_out), "there is no buffer");
        ensure(on.statistics().turns - turns < 10, "the loop spins");
        for (std::uint32_t i = 4; i < 20; ++i) {
            ensure(held.front().bytes.text() == content(i - 4), "content");
            held.erase(held.begin());
            held.push_back((co_await socket.receive(Milliseconds{2'000})).value());
        }
        ensure(held.back().bytes.text() == content(19), "the last");
        ensure(on.statistics().starved > 0, "it was starved");
    };
    loop->run(body(*loop));
    CHECK(loop->message_buffers().leased() == 0);
}

TEST_CASE("a receive of datagrams can be cancelled, and errors of the peer are told once") {
    auto loop = uring::Loop::open().value();
    auto body = [](uring::Loop& on) -> Task<> {
        Address nobody;
        {
            auto gone = Datagram::bind(on, any).value();
            nobody = gone.address().value();
        }
        (void)co_await on.sleep(Milliseconds{1});
        auto client = Datagram::connect(on, nobody).value();
        ensure((co_await client.send(bytes_of("hello?"))).has_value(), "send");
        const auto refused = co_await client.receive(Milliseconds{2'000});
        ensure(refused.error().is(std::errc::connection_refused), "nobody is there");
        auto back = Datagram::bind(on, nobody).value();
        const auto from = client.address().value();
        std::optional<Result<net::Packet>> out;
        auto receive = [](Datagram& at, std::optional<Result<net::Packet>>& into) -> Task<> {
            into.emplace(co_await at.receive());
        };
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(receive(client, out));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
        ensure(out->error().is(std::errc::operation_canceled), "cancelled");
        ensure((co_await back.send_to(from, bytes_of("here"))).has_value(), "send");
        (void)co_await on.sleep(Milliseconds{1});
        Datagram moved{std::move(client)};
        ensure((co_await moved.receive())->bytes.text() == "here", "what came meanwhile");
    };
    loop->run(body(*loop));
}

TEST_CASE("unix datagrams carry the name of their sender, if it has one") {
    auto loop = uring::Loop::open().value();
    const std::string base = "unix:@ringfort-datagram-" + std::to_string(::getpid());
    auto body = [](uring::Loop& on, const std::string& name) -> Task<> {
        const auto address = Address::parse(name + "-a").value();
        auto server = Datagram::bind(on, address).value();
        auto named = Datagram::bind(on, Address::parse(name + "-b").value()).value();
        auto nameless = Datagram::connect(on, address).value();
        ensure((co_await named.send_to(address, bytes_of("one"))).has_value(), "send");
        ensure((co_await nameless.send(bytes_of("two"))).has_value(), "send");
        const auto one = co_await server.receive(Milliseconds{2'000});
        ensure(one->bytes.text() == "one" && one->sender.text() == name + "-b", "named");
        const auto two = co_await server.receive(Milliseconds{2'000});
        ensure(two->bytes.text() == "two" && two->sender.size() == 0, "nameless");
    };
    loop->run(body(*loop, base));
}

TEST_CASE("a datagram socket cannot be destroyed or moved while a task sends by it") {
    const auto death = [](void (*deed)(std::optional<Datagram>&)) {
        return testing::death_of([deed] {
            auto loop = uring::Loop::open().value();
            int ends[2];
            ensure(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
            const Fd reader{ends[1]};
            while (::send(ends[0], "x", 1, MSG_DONTWAIT) == 1) continue;  // no more room
            std::optional<Datagram> socket{Datagram::adopt(*loop, Fd{ends[0]}).value()};
            testing::run_beside(
                *loop,
                [](Datagram& by) -> Task<> { (void)co_await by.send(bytes_of("y")); }(*socket),
                [&] { deed(socket); });
        });
    };
    const std::string_view message =
        "a datagram socket was moved or destroyed while a task sends by it";
    CHECK(death([](std::optional<Datagram>& socket) { socket.reset(); }).find(message) !=
          std::string::npos);
    CHECK(death([](std::optional<Datagram>& socket) {
              const Datagram other{*std::move(socket)};
          }).find(message) != std::string::npos);
}
