/* A TCP relay written by hand on io_uring (uring_streams.h): receives bundles from one side and
 * sends them to the other from the same buffers.
 *
 * usage: uring_relay PORT UPSTREAM_PORT [BUFFERSxKIB [plain]]
 *        serves on 127.0.0.1:PORT until SIGTERM or SIGINT; plain: without bundles */
#define _GNU_SOURCE
#include "uring_streams.h"

static struct sockaddr_in upstream_address;

static void peer_accepted(int fd) {
    int upstream_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (upstream_fd < 0) {
        close(fd);
        return;
    }
    no_delay(upstream_fd);
    struct peer* client = new_peer(fd);
    struct peer* upstream = new_peer(upstream_fd);
    client->partner = upstream;
    upstream->partner = client;
    client->connecting = upstream->connecting = true;
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_connect(sqe, upstream_fd, (struct sockaddr*)&upstream_address,
                          sizeof upstream_address);
    tag(sqe, upstream, connecting);
}

int main(int argc, char** argv) {
    const char* usage = "uring_relay PORT UPSTREAM_PORT [BUFFERSxKIB [plain]]";
    uint16_t port = port_of(argc >= 3 && argc <= 5 ? argv[1] : NULL, usage);
    upstream_address = loopback(port_of(argv[2], usage));
    base_buffers = 4;
    buffer_size = 128 * 1024;
    choose_buffers(argc > 3 ? argv[3] : NULL, usage);
    receive_flags = argc > 4 ? 0 : IORING_RECVSEND_BUNDLE;
    serve(port);
    return 0;
}
