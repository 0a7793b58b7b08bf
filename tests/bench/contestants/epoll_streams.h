/* A TCP relay on level-triggered epoll: what epoll_relay.c and splice_relay.c share. The program
 * defines how bytes are moved from one side to the other (`pump`) and what it keeps of those that
 * the other side did not take (`held`, `forget`). While something is held nothing more is read from
 * that side, so a slow reader slows its sender. */
#ifndef RINGFORT_BENCH_EPOLL_STREAMS_H
#define RINGFORT_BENCH_EPOLL_STREAMS_H
#include <fcntl.h>
#include <sys/epoll.h>

#include "contest.h"

enum { batch = 256 };

struct store; /* the program's */

struct side {
    struct side* other;
    struct store* store; /* what came from here and the other side has not taken, or NULL */
    int fd;
    uint32_t watched; /* events */
    bool connecting;
    bool ended;    /* nothing more comes from here */
    bool finished; /* it was told that nothing more comes */
    bool gone;
    struct side* next_gone;
};

static int poller;
static struct side* gone; /* freed when the events at hand, which may name them, are handled */
static struct sockaddr_in upstream_address;

/* Moves what can be moved from a side to the other. Sets `ended` at the end of the stream. Returns
 * false when one of the two connections is broken. */
static bool pump(struct side* from);
static size_t held(const struct side* from);
static void forget(struct side* from);

static void watch(struct side* side, uint32_t events) {
    if (side->watched == events) return;
    struct epoll_event event = {.events = events, .data = {.ptr = side}};
    int operation = events == 0          ? EPOLL_CTL_DEL
                    : side->watched == 0 ? EPOLL_CTL_ADD
                                         : EPOLL_CTL_MOD;
    if (epoll_ctl(poller, operation, side->fd, &event) != 0) die("epoll_ctl");
    side->watched = events;
}

static void drop(struct side* side) {
    if (side->gone) return;
    struct side* both[] = {side, side->other};
    for (int i = 0; i < 2; ++i) {
        close(both[i]->fd);
        forget(both[i]);
        both[i]->gone = true;
        both[i]->next_gone = gone;
        gone = both[i];
    }
}

static void rewatch(struct side* side) {
    uint32_t events = 0;
    if (side->connecting || held(side->other) > 0) events |= EPOLLOUT;
    if (!side->ended && !side->connecting && !side->other->connecting && held(side) == 0)
        events |= EPOLLIN;
    /* Both of its halves are closed: epoll would report that for as long as it is asked. */
    watch(side, side->ended && side->finished ? 0 : events);
}

static void settle(struct side* from, bool well) {
    struct side* to = from->other;
    if (well && from->ended && held(from) == 0 && !to->finished) {
        to->finished = true;
        shutdown(to->fd, SHUT_WR);
    }
    if (!well || (from->finished && to->finished)) {
        drop(from);
        return;
    }
    rewatch(from);
    rewatch(to);
}

static void on_connected(struct side* side) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    side->connecting = false;
    settle(side, error == 0);
}

static void on_event(struct side* side, uint32_t events) {
    if (side->gone) return;
    if (side->connecting) {
        on_connected(side);
        return;
    }
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) && held(side->other) > 0)
        settle(side->other, pump(side->other));
    if (side->gone || !(events & (EPOLLIN | EPOLLERR | EPOLLHUP))) return;
    if (side->ended)
        settle(side, !(events & EPOLLERR));
    else if (held(side) == 0)
        settle(side, pump(side));
}

static struct side* new_side(int fd) {
    struct side* side = calloc(1, sizeof *side);
    if (side == NULL) die("calloc");
    side->fd = fd;
    return side;
}

static void join(int client_fd) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        close(client_fd);
        return;
    }
    no_delay(fd);
    struct side* client = new_side(client_fd);
    struct side* upstream = new_side(fd);
    client->other = upstream;
    upstream->other = client;
    int result = connect(fd, (const struct sockaddr*)&upstream_address, sizeof upstream_address);
    upstream->connecting = result != 0 && errno == EINPROGRESS;
    settle(upstream, result == 0 || upstream->connecting);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR)) continue;
        if (fd < 0 && errno != EAGAIN) die("accept4");
        if (fd < 0) return;
        join(fd);
    }
}

static void free_gone(void) {
    while (gone != NULL) {
        struct side* side = gone;
        gone = side->next_gone;
        free(side);
    }
}

/* Serves until SIGTERM or SIGINT, which end the program. */
static _Noreturn void serve(uint16_t port) {
    lift_fd_limit();
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("epoll_create1");
    struct side signals = {.fd = ending_signals()};
    struct side listener = {.fd = listener_on(port, SOCK_NONBLOCK)};
    watch(&signals, EPOLLIN);
    watch(&listener, EPOLLIN);
    announce(listener.fd);
    struct epoll_event events[batch];
    for (;;) {
        int count = epoll_wait(poller, events, batch, -1);
        if (count < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < count; ++i) {
            struct side* side = events[i].data.ptr;
            /* The connections that are open are known to the kernel alone: it ends them. */
            if (side == &signals) _exit(0);
            if (side == &listener)
                accept_all(listener.fd);
            else
                on_event(side, events[i].events);
        }
        free_gone();
    }
}

/* A size in KiB; ends the program when it is neither that nor absent. */
static size_t kib_of(const char* text, size_t otherwise, const char* usage) {
    if (text == NULL) return otherwise * (size_t)1024;
    char* end = NULL;
    unsigned long kib = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || kib < 1 || kib > 16384) port_of(NULL, usage);
    return (size_t)kib * 1024;
}
#endif
