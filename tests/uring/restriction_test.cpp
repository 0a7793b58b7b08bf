#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

import ringfort.base;
import ringfort.coro;
import ringfort.uring;

#include "../temp_dir.h"
#include "sockets.h"

using namespace ringfort;
using coro::Task;
using uring::Backend;
using uring::Driver;
using uring::Loop;

namespace {

/// Makes a restricted driver; nothing where there is no io_uring.
bool open(Driver& driver, uring::Permits permits) {
    const auto opened = driver.open(8, 16, {}, Backend::io_uring, permits);
    if (opened) return true;
    INFO(opened.error().text());
    REQUIRE((opened.error().is(std::errc::operation_not_permitted) ||
             opened.error().is(std::errc::function_not_supported)));
    return false;
}

/// Has the ring do what `prepare` fills in; returns the result.
template <class Prepare>
int result_of(Driver& driver, Prepare prepare, unsigned flags = 0) {
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&driver.ring());
    REQUIRE(sqe != nullptr);
    prepare(sqe);
    sqe->flags |= static_cast<__u8>(flags);
    sqe->user_data = 16;
    REQUIRE(::io_uring_submit_and_wait(&driver.ring(), 1) >= 0);
    io_uring_cqe* cqe = nullptr;
    REQUIRE(::io_uring_peek_cqe(&driver.ring(), &cqe) == 0);
    const int result = cqe->res;
    ::io_uring_cqe_seen(&driver.ring(), cqe);
    return result;
}

void open_null(io_uring_sqe* sqe) {
    ::io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

/// Connects no socket: whoever lets it through answers EBADF.
void connect_nothing(io_uring_sqe* sqe) {
    static const sockaddr_in address{};
    ::io_uring_prep_connect(sqe, -1, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

TEST_CASE("a restricted ring opens no file and connects no socket unless it is permitted to") {
    Driver strict;
    if (!open(strict, {})) SKIP("there is no io_uring here");
    CHECK(result_of(strict, open_null) == -EACCES);
    CHECK(result_of(strict, connect_nothing) == -EACCES);

    Driver files;
    REQUIRE(open(files, {.files = true}));
    const Fd null{result_of(files, open_null)};
    CHECK(null);
    CHECK(result_of(files, connect_nothing) == -EACCES);

    Driver connections;
    REQUIRE(open(connections, {.connections = true}));
    CHECK(result_of(connections, open_null) == -EACCES);
    CHECK(result_of(connections, connect_nothing) == -EBADF);
}

TEST_CASE("a restricted ring refuses requests, flags and registrations that are never made") {
    Driver driver;
    if (!open(driver, {.files = true, .connections = true})) SKIP("there is no io_uring here");
    CHECK(result_of(driver, [](io_uring_sqe* sqe) { ::io_uring_prep_nop(sqe); }) == -EACCES);
    CHECK(result_of(driver, [](io_uring_sqe* sqe) {
              ::io_uring_prep_socket(sqe, AF_INET, SOCK_STREAM, 0, 0);
          }) == -EACCES);
    CHECK(result_of(driver, [](io_uring_sqe* sqe) {
              ::io_uring_prep_unlinkat(sqe, AT_FDCWD, "/nowhere", 0);
          }) == -EACCES);
    CHECK(result_of(driver, open_null, IOSQE_ASYNC) == -EACCES);
    CHECK(::io_uring_register_personality(&driver.ring()) == -EACCES);
}

TEST_CASE("without permits a ring is not restricted") {
    Driver driver;
    const auto opened = driver.open(8, 16, {}, Backend::io_uring);
    if (!opened) SKIP("there is no io_uring here");
    CHECK(result_of(driver, [](io_uring_sqe* sqe) { ::io_uring_prep_nop(sqe); }) == 0);
}

TEST_CASE("a loop with a restricted ring receives, sends and grows its buffers") {
    auto loop = Loop::open({.receive_buffers = 1, .permits = uring::Permits{}}).value();
    auto [mine, theirs] = testing::socket_pair();
    auto body = [](Loop& on, RawFd socket) -> Task<Result<std::string>> {
        std::string text;
        for (int i = 0; i < 200; ++i) {
            co_await co_await on.send_all(socket, std::as_bytes(std::span{"0123456789", 10}));
            char piece[10] = {};
            const std::size_t size =
                co_await co_await on.read(socket, std::as_writable_bytes(std::span{piece}));
            text.append(piece, size);
        }
        (void)co_await on.sleep(Milliseconds{1});
        co_return text;
    };
    std::thread echo{[&] {
        char piece[10];
        for (ssize_t size = 0; (size = ::read(theirs.get(), piece, sizeof piece)) > 0;)
            (void)!::write(theirs.get(), piece, static_cast<std::size_t>(size));
    }};
    const auto text = loop->run(body(*loop, mine.get()));
    (void)::shutdown(mine.get(), SHUT_RDWR);
    echo.join();
    REQUIRE(text);
    CHECK(text->size() == 2'000);
    const auto opened = loop->run([](Loop& on) -> Task<bool> {
        co_return (co_await uring::File::open(on, "/dev/null")).has_value();
    }(*loop));
    CHECK(opened == (loop->backend() == Backend::epoll));
}
