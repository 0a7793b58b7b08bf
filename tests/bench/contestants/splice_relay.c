/* A TCP relay with splice(2) on epoll (epoll_streams.h): the bytes never come to user space. A pipe
 * belongs to a direction only while there is something in it; empty ones wait on a stack.
 *
 * usage: splice_relay PORT UPSTREAM_PORT [KIB]
 *        serves on 127.0.0.1:PORT until SIGTERM or SIGINT; KIB: size of a pipe */
#define _GNU_SOURCE
#include "epoll_streams.h"

struct store {
    int out, in;
    size_t size; /* bytes in the pipe */
    struct store* next;
};

static size_t pipe_size;
static struct store* spare;

static size_t held(const struct side* from) {
    return from->store == NULL ? 0 : from->store->size;
}

static struct store* new_pipe(void) {
    struct store* store = spare;
    if (store != NULL) {
        spare = store->next;
        return store;
    }
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return NULL;
    fcntl(ends[1], F_SETPIPE_SZ, (int)pipe_size); /* may be refused: then it is 64 KiB */
    store = calloc(1, sizeof *store);
    if (store == NULL) die("calloc");
    store->out = ends[0];
    store->in = ends[1];
    return store;
}

static void forget(struct side* from) {
    struct store* store = from->store;
    if (store == NULL) return;
    from->store = NULL;
    if (store->size == 0) {
        store->next = spare;
        spare = store;
        return;
    }
    close(store->out);
    close(store->in);
    free(store);
}

static bool pour(struct side* from) {
    struct store* store = from->store;
    ssize_t sent = splice(store->out, NULL, from->other->fd, NULL, store->size,
                          SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent < 0) return again();
    store->size -= (size_t)sent;
    if (store->size == 0) forget(from);
    return true;
}

static bool pump(struct side* from) {
    if (from->store != NULL) return pour(from);
    struct store* store = from->store = new_pipe();
    if (store == NULL) return false;
    ssize_t got =
        splice(from->fd, NULL, store->in, NULL, pipe_size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (got > 0) {
        store->size = (size_t)got;
        return pour(from);
    }
    bool well = got == 0 || again();
    from->ended = got == 0;
    forget(from);
    return well;
}

int main(int argc, char** argv) {
    const char* usage = "splice_relay PORT UPSTREAM_PORT [KIB]";
    uint16_t port = port_of(argc == 3 || argc == 4 ? argv[1] : NULL, usage);
    upstream_address = loopback(port_of(argv[2], usage));
    pipe_size = kib_of(argc == 4 ? argv[3] : NULL, 256, usage);
    serve(port);
}
