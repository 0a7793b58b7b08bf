/* A TCP echo with libevent: an event for what can be read and one for what can be written, no
 * bufferevents, which write only in a turn of their own. A request is answered at once; what the
 * socket does not take is kept, and until it is gone nothing more is read from that connection.
 *
 * usage: libevent_echo PORT     serves on 127.0.0.1:PORT until SIGTERM or SIGINT */
#define _GNU_SOURCE
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>

#include "contest.h"

struct connection {
    struct event readable;
    struct event writable;
    struct evbuffer* rest; /* what the socket did not take, or NULL */
};

static struct event_base* base;

static void drop(struct connection* peer) {
    evutil_socket_t fd = event_get_fd(&peer->readable);
    event_del(&peer->readable);
    event_del(&peer->writable);
    close(fd);
    if (peer->rest != NULL) evbuffer_free(peer->rest);
    free(peer);
}

static void keep_rest(struct connection* peer, const char* bytes, size_t size) {
    peer->rest = evbuffer_new();
    if (peer->rest == NULL || evbuffer_add(peer->rest, bytes, size) != 0 ||
        event_del(&peer->readable) != 0 || event_add(&peer->writable, NULL) != 0) {
        drop(peer);
    }
}

static void on_readable(evutil_socket_t fd, short what, void* data) {
    (void)what;
    ssize_t got = recv(fd, receive_buffer(), receive_bytes, 0);
    if (got < 0 && again()) return;
    if (got <= 0) { /* 0: the peer is done, and all it sent has been answered */
        drop(data);
        return;
    }
    ssize_t sent = send(fd, receive_buffer(), (size_t)got, MSG_NOSIGNAL);
    if (sent < 0 && again()) sent = 0;
    if (sent < 0)
        drop(data);
    else if (sent < got)
        keep_rest(data, receive_buffer() + sent, (size_t)(got - sent));
}

static void on_writable(evutil_socket_t fd, short what, void* data) {
    (void)what;
    struct connection* peer = data;
    if (evbuffer_write(peer->rest, fd) < 0 && !again()) {
        drop(peer);
        return;
    }
    if (evbuffer_get_length(peer->rest) > 0) return;
    evbuffer_free(peer->rest);
    peer->rest = NULL;
    if (event_del(&peer->writable) != 0 || event_add(&peer->readable, NULL) != 0) drop(peer);
}

static void on_connection(struct evconnlistener* listener, evutil_socket_t fd,
                          struct sockaddr* address, int size, void* data) {
    (void)listener;
    (void)address;
    (void)size;
    (void)data;
    struct connection* peer = calloc(1, sizeof *peer);
    if (peer == NULL) die("calloc");
    event_assign(&peer->readable, base, fd, EV_READ | EV_PERSIST, on_readable, peer);
    event_assign(&peer->writable, base, fd, EV_WRITE | EV_PERSIST, on_writable, peer);
    if (event_add(&peer->readable, NULL) != 0) drop(peer);
}

static void on_accept_failure(struct evconnlistener* listener, void* data) {
    (void)listener;
    (void)data;
    die("accept");
}

static void on_signal(evutil_socket_t number, short what, void* data) {
    (void)number;
    (void)what;
    (void)data;
    event_base_loopbreak(base);
}

int main(int argc, char** argv) {
    uint16_t port = port_of(argc == 2 ? argv[1] : NULL, "libevent_echo PORT");
    lift_fd_limit();
    signal(SIGPIPE, SIG_IGN); /* evbuffer_write is writev(2) */
    /* Who stops reading to write is then one epoll_ctl(2), not two. */
    struct event_config* config = event_config_new();
    if (config == NULL || event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST |
                                                            EVENT_BASE_FLAG_IGNORE_ENV) != 0) {
        die("event_config_new");
    }
    base = event_base_new_with_config(config);
    event_config_free(config);
    if (base == NULL) die("event_base_new");
    const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; ++i) {
        struct event* ending = evsignal_new(base, numbers[i], on_signal, NULL);
        if (ending == NULL || event_add(ending, NULL) != 0) die("evsignal_new");
    }
    int fd = listener_on(port, SOCK_NONBLOCK);
    struct evconnlistener* listener =
        evconnlistener_new(base, on_connection, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (listener == NULL) die("evconnlistener_new");
    evconnlistener_set_error_cb(listener, on_accept_failure);
    announce(fd);
    if (event_base_dispatch(base) < 0) die("event_base_dispatch");
    return 0;
}
