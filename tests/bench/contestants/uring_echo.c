/* The floor: a TCP echo written by hand on io_uring, with what a long-running server needs and with
 * everything the kernel offers that was measured to help (uring_streams.h). The engine is measured
 * against this.
 *
 * usage: uring_echo PORT [BUFFERSxKIB]     serves on 127.0.0.1:PORT until SIGTERM or SIGINT */
#define _GNU_SOURCE
#include "uring_streams.h"

static void peer_accepted(int fd) {
    start_receiving(new_peer(fd));
}

int main(int argc, char** argv) {
    const char* usage = "uring_echo PORT [BUFFERSxKIB]";
    uint16_t port = port_of(argc == 2 || argc == 3 ? argv[1] : NULL, usage);
    choose_buffers(argc == 3 ? argv[2] : NULL, usage);
    serve(port);
    return 0;
}
