/* What every hand-written contestant in C does before its first connection, and what several of
 * them do for each request, in one place so that none of them is handicapped by accident: fd limit,
 * listener, signals, usage; the buffer, errors that pass. */
#ifndef RINGFORT_BENCH_CONTEST_H
#define RINGFORT_BENCH_CONTEST_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    page = 4096,
    in_page = 512, /* of a buffer's first byte: most copies' other end is where a page begins */
    receive_bytes = 64 * 1024,
};

/* Returns the buffer, of receive_bytes, that all connections of a program share. */
static inline char* receive_buffer(void) {
    static _Alignas(page) char pages[in_page + receive_bytes];
    return pages + in_page;
}

/* Whether the call that has just failed may be made again. */
static inline bool again(void) {
    return errno == EAGAIN || errno == EINTR;
}

_Noreturn static inline void die(const char* step) {
    fprintf(stderr, "%s: %s\n", step, strerror(errno));
    exit(1);
}

/* For calls that return -errno. */
static inline void require(int result, const char* step) {
    if (result >= 0) return;
    errno = -result;
    die(step);
}

/* A port in decimal; ends the program with its usage when it is none. */
static inline uint16_t port_of(const char* text, const char* usage) {
    char* end = NULL;
    unsigned long port = text != NULL ? strtoul(text, &end, 10) : 65536;
    if (end == NULL || *end != '\0' || end == text || port > 65535) {
        fprintf(stderr, "usage: %s\n", usage);
        exit(2);
    }
    return (uint16_t)port;
}

static inline void lift_fd_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
}

static inline void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* A listener on 127.0.0.1, without saying so yet. What it accepts inherits TCP_NODELAY. */
static inline int listener_on(uint16_t port, int type_flags) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type_flags, 0);
    if (fd < 0) die("socket");
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    no_delay(fd);
    struct sockaddr_in address = loopback(port);
    if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) die("bind");
    if (listen(fd, 4096) != 0) die("listen");
    return fd;
}

static inline void announce(int listener) {
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    if (getsockname(listener, (struct sockaddr*)&address, &size) != 0) die("getsockname");
    printf("listening %u\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
}

/* SIGTERM and SIGINT as something to read. */
static inline int ending_signals(void) {
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    int fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) die("signalfd");
    return fd;
}
#endif
