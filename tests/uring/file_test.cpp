#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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

#include "../temp_dir.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Access;
using uring::Creation;
using uring::File;
using uring::Loop;

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

RawFd lowest_free() {
    const Fd probe{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    return probe.get();
}

}  // namespace

TEST_CASE("a file is made, written, read at offsets and at its position, and closed by the ring") {
    auto loop = Loop::open().value();
    const testing::TempDir directory;
    auto body = [](Loop& on, const std::string& path) -> Task<Result<std::string>> {
        auto file = co_await co_await File::open(
            on, path, {.access = Access::read_write, .creation = Creation::exclusive});
        ensure(co_await co_await file.write_all(bytes_of("hello, world")) == 12, "write");
        ensure(co_await co_await file.write(bytes_of("W"), 7) == 1, "write at an offset");
        co_await co_await file.sync();
        co_await co_await file.sync(uring::SyncScope::data);
        std::string text(5, '\0');
        ensure(co_await co_await file.read(std::as_writable_bytes(std::span{text}), 7) == 5, "");
        std::string rest(64, '\0');
        const auto filled =
            co_await co_await file.read_all(std::as_writable_bytes(std::span{rest}), 0);
        rest.resize(filled);
        ensure(co_await co_await file.read(std::as_writable_bytes(std::span{text})) == 0,
               "the position is at the end");
        const auto status = co_await co_await file.status();
        ensure(status.size == Bytes{12} && S_ISREG(status.mode) && status.links == 1, "status");
        ensure(std::chrono::system_clock::now() - status.modified < std::chrono::minutes{1}, "");
        const RawFd number = file.fd();
        co_await co_await file.close();
        ensure(file.fd() == -1 && ::fcntl(number, F_GETFD) == -1, "it is open still");
        co_return rest + "|" + text;
    };
    const auto text = loop->run(body(*loop, directory.file("new")));
    REQUIRE(text);
    CHECK(*text == "hello, World|World");
}

TEST_CASE("opening heeds what is there and what is missing") {
    auto loop = Loop::open().value();
    const testing::TempDir directory;
    const std::string path = directory.file("some");
    auto body = [](Loop& on, const std::string& at) -> Task<> {
        const auto missing = co_await File::open(on, at);
        ensure(!missing && missing.error().text() == "open: No such file or directory", "missing");
        const auto none = co_await File::status_of(on, at);
        ensure(!none && none.error().is(std::errc::no_such_file_or_directory), "missing");
        {
            auto made = co_await File::open(
                on, at,
                {.access = Access::write, .creation = Creation::if_missing, .permissions = 0600});
            ensure((co_await made->write_all(bytes_of("old"))).has_value(), "write");
        }
        const auto again =
            co_await File::open(on, at, {.access = Access::write, .creation = Creation::exclusive});
        ensure(again.error().is(std::errc::file_exists), "exclusive");
        {
            auto more = co_await File::open(on, at, {.access = Access::append});
            ensure((co_await more->write_all(bytes_of("er"))).has_value(), "append");
        }
        const auto status = co_await File::status_of(on, at);
        ensure(status->size == Bytes{5} && (status->mode & 0777) == 0600, "status");
        auto emptied =
            co_await File::open(on, at, {.access = Access::write, .creation = Creation::truncate});
        ensure((co_await emptied->status())->size == Bytes{0}, "truncate");
        std::byte byte{};
        const auto refused = co_await emptied->read({&byte, 1}, 0);
        ensure(refused.error().is(std::errc::bad_file_descriptor), "reading what is for writing");
    };
    loop->run(body(*loop, path));
}

TEST_CASE("read_all and write_all move every byte of a pipe, piece by piece") {
    auto loop = Loop::open().value();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    std::string payload(1 << 20, '\0');
    for (std::size_t i = 0; i < payload.size(); ++i)
        payload[i] = static_cast<char>(i * 31 + i / 257);
    auto writer = [](File file, const std::string& text) -> Task<> {
        ensure((co_await file.write_all(bytes_of(text))).value() == text.size(), "write");
    };
    auto body = [&writer](Loop& on, Fd from, Fd to, const std::string& text) -> Task<std::string> {
        coro::Scope scope{co_await coro::current_context()};
        scope.spawn(writer(File{on, std::move(to)}, text));
        File reader{on, std::move(from)};
        std::string got(text.size() + 10, '\0');
        const auto filled = co_await reader.read_all(std::as_writable_bytes(std::span{got}));
        got.resize(filled.value());
        co_await scope.join();
        co_return got;
    };
    CHECK(loop->run(body(*loop, Fd{ends[0]}, Fd{ends[1]}, payload)) == payload);
}

TEST_CASE("files opened, read and closed under cancellation at every moment leak no descriptor") {
    auto loop = Loop::open({.submissions = 8}).value();
    const testing::TempDir directory;
    auto one = [](Loop& on, const std::string& path, int& finished) -> Task<> {
        auto file = co_await File::open(
            on, path, {.access = Access::read_write, .creation = Creation::if_missing});
        if (!file) co_return;
        (void)co_await file->write_all(bytes_of("text"), 0);
        std::byte bytes[4];
        (void)co_await file->read_all(bytes, 0);
        const RawFd number = file->fd();
        ensure((co_await file->close()).has_value() && number >= 0, "close");
        ++finished;
    };
    auto body = [&one](Loop& on, const testing::TempDir& in) -> Task<int> {
        int finished = 0;
        const std::string path = in.file("shared");
        for (int round = 0; round < 200; ++round) {
            coro::Scope scope{co_await coro::current_context()};
            for (int i = 0; i < 20; ++i) scope.spawn(one(on, path, finished));
            for (int i = 0; i < round % 8; ++i) (void)co_await on.sleep(Milliseconds{0});
            if (round % 10 != 9) scope.cancel();
            co_await scope.join();
        }
        co_return finished;
    };
    const RawFd before = lowest_free();
    const int finished = loop->run(body(*loop, directory));
    CHECK(lowest_free() == before);
    CHECK(finished >= 400);
    CHECK(finished < 4'000);
}

TEST_CASE("closing is not undone by a cancellation that came before it") {
    auto loop = Loop::open().value();
    auto [near, far] = testing::socket_pair();
    const RawFd number = near.get();
    auto body = [](Loop& on, Fd fd) -> Task<> {
        coro::Scope scope{co_await coro::current_context()};
        auto close = [](Loop& ring, Fd owned) -> Task<> {
            File file{ring, std::move(owned)};
            (void)co_await ring.sleep(Milliseconds{1'000});
            ensure((co_await file.close()).has_value(), "close");
        };
        scope.spawn(close(on, std::move(fd)));
        (void)co_await on.sleep(Milliseconds{1});
        scope.cancel();
        co_await scope.join();
    };
    loop->run(body(*loop, std::move(near)));
    CHECK(::fcntl(number, F_GETFD) == -1);
}
