/* The yardstick: a plain, good TCP echo with epoll, as an experienced C programmer writes it in an
 * afternoon. One process, level triggered, one recv and one send a request, no tricks.
 *
 * usage: epoll_echo PORT     listens on 127.0.0.1:PORT (0: the kernel picks), prints
 *                            "listening PORT" on stdout and serves until SIGTERM or SIGINT.
 *
 * What the peer does not take at once is kept; until it is gone nothing more is read from that
 * peer, so a slow reader costs at most one buffer. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contestants/contest.h"

enum { batch = 256 };

struct connection {
    int fd;
    char* rest;       /* what the socket did not take, or NULL */
    size_t rest_at;   /* next byte of rest to send */
    size_t rest_size; /* bytes in rest */
};

static int poller;

static void watch(int operation, int fd, uint32_t events, void* data) {
    struct epoll_event event = {.events = events, .data = {.ptr = data}};
    if (epoll_ctl(poller, operation, fd, &event) != 0) die("epoll_ctl");
}

static void drop(struct connection* peer) {
    close(peer->fd);
    free(peer->rest);
    free(peer);
}

/* Sends; returns the bytes taken, or -1 when the connection is broken. */
static ssize_t push(const struct connection* peer, const char* bytes, size_t size) {
    ssize_t sent = send(peer->fd, bytes, size, MSG_NOSIGNAL);
    return sent < 0 && again() ? 0 : sent;
}

static void keep_rest(struct connection* peer, const char* bytes, size_t size) {
    peer->rest = malloc(size);
    if (peer->rest == NULL) {
        drop(peer);
        return;
    }
    memcpy(peer->rest, bytes, size);
    peer->rest_at = 0;
    peer->rest_size = size;
    watch(EPOLL_CTL_MOD, peer->fd, EPOLLOUT, peer);
}

static void on_readable(struct connection* peer) {
    ssize_t got = recv(peer->fd, receive_buffer(), receive_bytes, 0);
    if (got < 0 && again()) return;
    if (got <= 0) { /* 0: the peer is done, and all it sent has been answered */
        drop(peer);
        return;
    }
    ssize_t sent = push(peer, receive_buffer(), (size_t)got);
    if (sent < 0)
        drop(peer);
    else if (sent < got)
        keep_rest(peer, receive_buffer() + sent, (size_t)(got - sent));
}

static void on_writable(struct connection* peer) {
    ssize_t sent = push(peer, peer->rest + peer->rest_at, peer->rest_size - peer->rest_at);
    if (sent < 0) {
        drop(peer);
        return;
    }
    peer->rest_at += (size_t)sent;
    if (peer->rest_at < peer->rest_size) return;
    free(peer->rest);
    peer->rest = NULL;
    watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN, peer);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR)) continue;
        if (fd < 0 && errno != EAGAIN) die("accept4");
        if (fd < 0) return;
        struct connection* peer = calloc(1, sizeof *peer);
        if (peer == NULL) die("calloc");
        peer->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
    }
}

int main(int argc, char** argv) {
    uint16_t port = port_of(argc == 2 ? argv[1] : NULL, "epoll_echo PORT");
    lift_fd_limit();
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1");
    int signals = ending_signals();
    int listener = listener_on(port, SOCK_NONBLOCK);
    announce(listener);
    /* Two data pointers that no connection can have tell the three kinds of event apart. */
    watch(EPOLL_CTL_ADD, signals, EPOLLIN, &signals);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener);

    struct epoll_event events[batch];
    for (;;) {
        int count = epoll_wait(poller, events, batch, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; ++i) {
            void* data = events[i].data.ptr;
            if (data == &signals) _exit(0); /* the kernel ends the open connections */
            if (data == &listener)
                accept_all(listener);
            else if (((struct connection*)data)->rest != NULL)
                on_writable(data);
            else
                on_readable(data);
        }
    }
}
