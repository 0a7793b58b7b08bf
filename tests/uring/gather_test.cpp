#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
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
import ringfort.uring;

#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Loop;

namespace {

/// Reads to the end, a few bytes at a time and one read a turn, so that the writer has to wait.
Task<> read_slowly(Loop& on, RawFd from, std::string& out) {
    std::byte bytes[700];
    for (;;) {
        const auto count = co_await on.read(from, bytes);
        if (!count || *count == 0) co_return;
        out.append(reinterpret_cast<const char*>(bytes), *count);
    }
}

/// Pieces of many lengths, empty ones among them, and the bytes they are of.
struct Sample {
    std::string text;
    std::vector<std::span<const std::byte>> pieces;

    explicit Sample(std::size_t count) {
        for (std::size_t i = 0; i < 4'000 * count; ++i) text += static_cast<char>(i * 13 + i / 251);
        std::size_t from = 0;
        for (std::size_t i = 0; i + 1 < count; ++i) {
            const std::size_t length = i % 5 == 3 ? 0 : (i * 977) % 6'000;
            pieces.push_back(piece(from, length));
            from += pieces.back().size();
        }
        pieces.push_back(piece(from, text.size()));
    }
    std::span<const std::byte> piece(std::size_t from, std::size_t length) const {
        return std::as_bytes(std::span{text}).subspan(from, std::min(length, text.size() - from));
    }
};

void shrink(const Fd& socket, int option) {
    const int size = 1;  // the kernel makes it its smallest
    ensure(::setsockopt(socket.get(), SOL_SOCKET, option, &size, sizeof size) == 0, "setsockopt");
}

}  // namespace

TEST_CASE("pieces are sent in their order through a tiny socket buffer to a slow reader") {
    for (const std::size_t count : {1U, 2U, 15U, 16U, 17U, 33U, 100U}) {
        auto loop = Loop::open().value();
        auto [near, far] = testing::socket_pair();
        shrink(near, SO_SNDBUF);
        const Sample sample{count};
        auto body = [](Loop& on, Fd from, const Fd& to, const Sample& all) -> Task<std::string> {
            coro::Scope scope{co_await coro::current_context()};
            std::string received;
            scope.spawn(read_slowly(on, to.get(), received));
            ensure((co_await on.send_all(from.get(), all.pieces)).has_value(), "send");
            ::shutdown(from.get(), SHUT_WR);
            co_await scope.join();
            co_return received;
        };
        CHECK(loop->run(body(*loop, std::move(near), far, sample)) == sample.text);
    }
}

TEST_CASE("one piece through a tiny socket buffer arrives whole, too") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    shrink(near, SO_SNDBUF);
    const Sample sample{50};
    auto body = [](Loop& on, Fd from, const Fd& to, const std::string& text) -> Task<std::string> {
        coro::Scope scope{co_await coro::current_context()};
        std::string received;
        scope.spawn(read_slowly(on, to.get(), received));
        ensure((co_await on.send_all(from.get(), std::as_bytes(std::span{text}))).has_value(), "");
        ::shutdown(from.get(), SHUT_WR);
        co_await scope.join();
        co_return received;
    };
    CHECK(loop->run(body(*loop, std::move(near), far, sample.text)) == sample.text);
}

TEST_CASE("sending nothing, in no piece or in empty ones, succeeds") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    auto body = [](Loop& on, const Fd& socket) -> Task<bool> {
        const std::span<const std::byte> empty[2];
        const bool none = (co_await on.send_all(socket.get(), uring::Pieces{})).has_value();
        co_return none && (co_await on.send_all(socket.get(), empty)).has_value();
    };
    CHECK(loop->run(body(*loop, near)));
}

TEST_CASE("a gathered send to a reader that has stopped can be limited and cancelled") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    shrink(near, SO_SNDBUF);
    const Sample sample{100};
    auto body = [](Loop& on, const Fd& socket, const Sample& all) -> Task<Result<void>> {
        co_return co_await on.send_all(socket.get(), all.pieces, Milliseconds{10});
    };
    CHECK(loop->run(body(*loop, near, sample)).error().is(std::errc::timed_out));
    far.close();
    CHECK(loop->run(body(*loop, near, sample)).error().is(std::errc::broken_pipe));
}
