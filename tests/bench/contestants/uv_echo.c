/* A TCP echo with libuv: one receive buffer for all connections, and a request is answered at once
 * with uv_try_write. What the socket does not take is copied and written when it can be; until then
 * nothing more is read from that connection.
 *
 * usage: uv_echo PORT     serves on 127.0.0.1:PORT until SIGTERM or SIGINT */
#define _GNU_SOURCE
#include <uv.h>

#include "contest.h"

enum { backlog = 4096 };

/* The bytes to be written stand behind it. */
struct rest {
    uv_write_t request;
    char bytes[];
};

static void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t* unused);

static void free_handle(uv_handle_t* handle) {
    free(handle);
}

static void drop(uv_stream_t* stream) {
    if (!uv_is_closing((uv_handle_t*)stream)) uv_close((uv_handle_t*)stream, free_handle);
}

static void lend_buffer(uv_handle_t* handle, size_t suggested, uv_buf_t* lent) {
    (void)handle;
    (void)suggested;
    *lent = uv_buf_init(receive_buffer(), receive_bytes);
}

static void on_written(uv_write_t* request, int status) {
    uv_stream_t* stream = request->handle;
    free(request->data);
    if (status < 0 || uv_read_start(stream, lend_buffer, on_read) != 0) drop(stream);
}

static void write_later(uv_stream_t* stream, const char* bytes, size_t size) {
    struct rest* rest = malloc(sizeof *rest + size);
    if (rest == NULL) {
        drop(stream);
        return;
    }
    memcpy(rest->bytes, bytes, size);
    rest->request.data = rest;
    uv_read_stop(stream);
    uv_buf_t part = uv_buf_init(rest->bytes, (unsigned)size);
    if (uv_write(&rest->request, stream, &part, 1, on_written) == 0) return;
    free(rest);
    drop(stream);
}

static void on_read(uv_stream_t* stream, ssize_t got, const uv_buf_t* unused) {
    (void)unused;
    if (got == 0) return;
    if (got < 0) { /* UV_EOF: all that was sent has been answered */
        drop(stream);
        return;
    }
    uv_buf_t all = uv_buf_init(receive_buffer(), (unsigned)got);
    int sent = uv_try_write(stream, &all, 1);
    if (sent == UV_EAGAIN) sent = 0;
    if (sent < 0)
        drop(stream);
    else if (sent < got)
        write_later(stream, receive_buffer() + sent, (size_t)(got - sent));
}

static void on_connection(uv_stream_t* listener, int status) {
    if (status < 0) return;
    uv_tcp_t* peer = malloc(sizeof *peer);
    if (peer == NULL) die("malloc");
    require(uv_tcp_init(listener->loop, peer), "uv_tcp_init");
    if (uv_accept(listener, (uv_stream_t*)peer) != 0 ||
        uv_read_start((uv_stream_t*)peer, lend_buffer, on_read) != 0) {
        drop((uv_stream_t*)peer);
    }
}

static void on_signal(uv_signal_t* signal, int number) {
    (void)number;
    uv_stop(signal->loop);
}

int main(int argc, char** argv) {
    uint16_t port = port_of(argc == 2 ? argv[1] : NULL, "uv_echo PORT");
    lift_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_t* loop = uv_default_loop();
    uv_signal_t signals[2];
    const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; ++i) {
        uv_signal_init(loop, &signals[i]);
        require(uv_signal_start(&signals[i], on_signal, numbers[i]), "uv_signal_start");
    }
    uv_tcp_t listener;
    uv_tcp_init(loop, &listener);
    struct sockaddr_in address = loopback(port);
    require(uv_tcp_bind(&listener, (const struct sockaddr*)&address, 0), "bind");
    uv_os_fd_t fd;
    require(uv_fileno((uv_handle_t*)&listener, &fd), "uv_fileno");
    no_delay(fd); /* inherited by what it accepts */
    require(uv_listen((uv_stream_t*)&listener, backlog, on_connection), "listen");
    announce(fd);
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
