/* A TCP relay with recv and send on epoll (epoll_streams.h), through one buffer for all, which
 * therefore stays in the cache.
 *
 * usage: epoll_relay PORT UPSTREAM_PORT [KIB]
 *        serves on 127.0.0.1:PORT until SIGTERM or SIGINT; KIB: size of the buffer */
#define _GNU_SOURCE
#include "epoll_streams.h"

struct store {
    size_t at, size;
    char bytes[];
};

static char* buffer;
static size_t buffer_size;

static size_t held(const struct side* from) {
    return from->store == NULL ? 0 : from->store->size - from->store->at;
}

static void forget(struct side* from) {
    free(from->store);
    from->store = NULL;
}

static ssize_t push(const struct side* to, const char* bytes, size_t size) {
    ssize_t sent = send(to->fd, bytes, size, MSG_NOSIGNAL);
    return sent < 0 && again() ? 0 : sent;
}

static bool keep(struct side* from, const char* bytes, size_t size) {
    from->store = malloc(sizeof *from->store + size);
    if (from->store == NULL) return false;
    from->store->at = 0;
    from->store->size = size;
    memcpy(from->store->bytes, bytes, size);
    return true;
}

static bool push_held(struct side* from) {
    struct store* store = from->store;
    ssize_t sent = push(from->other, store->bytes + store->at, store->size - store->at);
    if (sent < 0) return false;
    store->at += (size_t)sent;
    if (store->at == store->size) forget(from);
    return true;
}

static bool pump(struct side* from) {
    if (from->store != NULL) return push_held(from);
    ssize_t got = recv(from->fd, buffer, buffer_size, 0);
    if (got < 0) return again();
    if (got == 0) {
        from->ended = true;
        return true;
    }
    ssize_t sent = push(from->other, buffer, (size_t)got);
    if (sent < 0) return false;
    return sent == got || keep(from, buffer + sent, (size_t)(got - sent));
}

int main(int argc, char** argv) {
    const char* usage = "epoll_relay PORT UPSTREAM_PORT [KIB]";
    uint16_t port = port_of(argc == 3 || argc == 4 ? argv[1] : NULL, usage);
    upstream_address = loopback(port_of(argv[2], usage));
    buffer_size = kib_of(argc == 4 ? argv[3] : NULL, 512, usage);
    char* pages = aligned_alloc(page, buffer_size + page);
    if (pages == NULL) die("aligned_alloc");
    buffer = pages + in_page;
    serve(port);
}
