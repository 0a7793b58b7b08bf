// A TCP echo with Boost.Asio: one thread, so no locks; the executor's own type instead of the
// polymorphic one; no exceptions on the way of a request. Built twice: on epoll and on io_uring.
//
// usage: asio_echo_epoll|asio_echo_uring PORT callbacks|coroutines
//        serves on 127.0.0.1:PORT until SIGTERM or SIGINT
#include <sys/resource.h>

#include <array>
#include <boost/asio.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <tuple>
#include <utility>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<tcp, Executor>;
using Acceptor = asio::basic_socket_acceptor<tcp, Executor>;

constexpr std::size_t buffer_bytes = 65536;
constexpr int backlog = 4096;

class Session : public std::enable_shared_from_this<Session> {
public:
    explicit Session(Socket socket) : socket_(std::move(socket)) {}

    void receive() {
        socket_.async_read_some(asio::buffer(buffer_),
                                [self = shared_from_this()](error_code error, std::size_t size) {
                                    if (!error) self->send(size);
                                });
    }

private:
    void send(std::size_t size) {
        asio::async_write(socket_, asio::buffer(buffer_.data(), size),
                          [self = shared_from_this()](error_code error, std::size_t) {
                              if (!error) self->receive();
                          });
    }

    Socket socket_;
    std::array<char, buffer_bytes> buffer_;  // not cleared: only what is used becomes resident
};

void accept_with_callbacks(Acceptor& acceptor) {
    acceptor.async_accept([&acceptor](error_code error, Socket socket) {
        if (!error) {
            // Not make_shared, which would clear the buffer.
            std::shared_ptr<Session>(new Session(std::move(socket)))->receive();
        }
        accept_with_callbacks(acceptor);
    });
}

template <typename Value>
using Awaitable = asio::awaitable<Value, Executor>;
constexpr asio::as_tuple_t<asio::use_awaitable_t<Executor>> as_tuple{};

Awaitable<void> echo(Socket socket) {
    const std::unique_ptr<char[]> buffer(new char[buffer_bytes]);
    for (;;) {
        const auto [failed, size] =
            co_await socket.async_read_some(asio::buffer(buffer.get(), buffer_bytes), as_tuple);
        if (failed) co_return;
        const auto [broken, sent] =
            co_await asio::async_write(socket, asio::buffer(buffer.get(), size), as_tuple);
        if (broken) co_return;
    }
}

Awaitable<void> accept_with_coroutines(Acceptor& acceptor) {
    for (;;) {
        auto [failed, socket] = co_await acceptor.async_accept(as_tuple);
        if (failed) continue;
        asio::co_spawn(acceptor.get_executor(), echo(std::move(socket)), asio::detached);
    }
}

enum class Style { callbacks, coroutines };

void lift_fd_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void serve(std::uint16_t port, Style style) {
    lift_fd_limit();
    asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
    asio::basic_signal_set<Executor> signals(context.get_executor(), SIGTERM, SIGINT);
    signals.async_wait([&](error_code, int) { context.stop(); });

    Acceptor acceptor(context.get_executor());
    acceptor.open(tcp::v4());
    acceptor.set_option(Acceptor::reuse_address(true));
    acceptor.set_option(tcp::no_delay(true));  // inherited by what it accepts
    acceptor.bind(tcp::endpoint(asio::ip::address_v4::loopback(), port));
    acceptor.listen(backlog);
    std::printf("listening %u\n", static_cast<unsigned>(acceptor.local_endpoint().port()));
    std::fflush(stdout);
    if (style == Style::coroutines) {
        asio::co_spawn(context.get_executor(), accept_with_coroutines(acceptor), asio::detached);
    } else {
        accept_with_callbacks(acceptor);
    }
    context.run();
}

}  // namespace

int main(int argc, char** argv) try {
    char* end = nullptr;
    const unsigned long port = argc == 3 ? std::strtoul(argv[1], &end, 10) : 65536;
    const auto named = [&](const char* style) {
        return argc == 3 && std::strcmp(argv[2], style) == 0;
    };
    if (port > 65535 || *end != '\0' || !(named("callbacks") || named("coroutines"))) {
        std::fprintf(stderr, "usage: asio_echo PORT callbacks|coroutines\n");
        return 2;
    }
    serve(static_cast<std::uint16_t>(port),
          named("coroutines") ? Style::coroutines : Style::callbacks);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "asio_echo: %s\n", error.what());
    return 1;
}
