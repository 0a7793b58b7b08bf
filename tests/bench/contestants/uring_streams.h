/* Streams on io_uring by hand: what uring_echo.c and uring_relay.c share. Bytes received from a
 * peer are queued to be sent to its partner; the partner of an echo's peer is the peer itself.
 *
 * - One enter a turn: it submits all sends of the turn and waits for one completion more than they
 *   will make. That is safe because a first send carries MSG_DONTWAIT and so completes while it is
 *   submitted, in whole, in part or with EAGAIN; only what is left is sent by waiting for room.
 * - Multishot receive, in bundles if wanted, into incrementally consumed buffers that all peers
 *   share. A buffer goes back when the kernel has moved on to the next one and all its bytes were
 *   sent.
 * - Buffers go round, so few of them stay in the cache. More are added only when slow peers hold
 *   all of them, and are parked again when they come back.
 * - The bytes to a peer are sent in order because at most one send to it is in flight; pieces from
 *   several buffers go into one sendmsg. Who sends to a slow reader is not read from.
 * - An idle connection is closed after a minute, by one coarse timer for all of them.
 *
 * The program defines `peer_accepted(fd)` and may set the options before streams_open().
 * Needs Linux 6.12 and liburing 2.9. */
#ifndef RINGFORT_BENCH_URING_STREAMS_H
#define RINGFORT_BENCH_URING_STREAMS_H
#include "uring_ring.h"

static void peer_accepted(int fd);

/* ---- a peer's life ----------------------------------------------------------------------------
 */

static void touch(struct peer* peer) {
    if (peer->touched) return;
    peer->touched = true;
    peer->next_touched = NULL;
    *touched_end = peer;
    touched_end = &peer->next_touched;
}

static struct peer* new_peer(int fd) {
    if (peer_count == peer_room) {
        peer_room = peer_room > 0 ? 2 * peer_room : 256;
        peers = realloc(peers, peer_room * sizeof(struct peer*));
        if (peers == NULL) die("realloc");
    }
    struct peer* peer = calloc(1, sizeof *peer);
    if (peer == NULL) die("calloc");
    peer->partner = peer;
    peer->fd = fd;
    peer->heard_s = now_s;
    peer->first = peer->last = nothing;
    peer->slot = peer_count;
    peers[peer_count++] = peer;
    return peer;
}

static void drop(struct peer* peer) {
    close(peer->fd);
    peers[peer->slot] = peers[--peer_count];
    peers[peer->slot]->slot = peer->slot;
    free(peer);
}

static void fail(struct peer* peer) {
    peer->broken = peer->partner->broken = true;
}

static void on_accept(int fd) {
    if (fd >= 0) {
        start_accept();
        peer_accepted(fd);
    } else if (fd == -ECONNABORTED || fd == -EINTR || fd == -EPROTO) {
        start_accept();
    } else {
        accept_later = true; /* no descriptors or no memory: at the next tick */
    }
}

static void on_connect(struct peer* peer, int result) {
    peer->connecting = peer->partner->connecting = false;
    if (result < 0) fail(peer);
    touch(peer);
    touch(peer->partner);
}

static void on_receive(struct peer* peer, int result, unsigned flags) {
    if (!(flags & IORING_CQE_F_MORE)) peer->receiving = peer->cancelling = false;
    touch(peer);
    if (result > 0) {
        peer->heard_s = now_s;
        if (flags >> IORING_CQE_BUFFER_SHIFT != order[order_head % most_buffers])
            require(-EPROTO, "the kernel took another buffer than the next one");
        take(peer->partner, (uint32_t)result);
    } else if (result == -ENOBUFS) {
        peer->starving = true;
        peer->next_starving = NULL;
        *starving_end = peer;
        starving_end = &peer->next_starving;
    } else if (result != -ECANCELED && result != -EINTR) {
        peer->ended = true;
        if (result < 0) fail(peer);
    }
    touch(peer->partner);
}

static void on_sent(struct peer* peer, int result) {
    peer->sending = false;
    peer->heard_s = now_s;
    touch(peer);
    touch(peer->partner);
    if (result >= 0)
        dequeue(peer, (uint32_t)result);
    else if (result != -EAGAIN && result != -EINTR)
        fail(peer);
    if (peer->queued > 0 && !peer->broken) start_sending(peer, 0);
}

static void on_tick(void) {
    ++now_s;
    for (uint32_t i = 0; i < peer_count; ++i) {
        const struct peer* peer = peers[i];
        if (now_s - peer->heard_s > idle_limit_s && now_s - peer->partner->heard_s > idle_limit_s)
            shutdown(peer->fd, SHUT_RDWR);
    }
    if (accept_later) start_accept();
    accept_later = false;
}

static bool done(const struct peer* peer) {
    return (peer->ended || peer->broken) && peer->queued == 0 && !peer->connecting &&
           !peer->receiving && !peer->sending && !peer->starving && !peer->touched;
}

/* Decides what comes next for a peer to which something has happened. */
static void settle(struct peer* peer) {
    struct peer* partner = peer->partner;
    peer->touched = false;
    if (peer->connecting) return;
    if (!peer->sending) {
        if (peer->broken && peer->queued > 0) dequeue(peer, peer->queued);
        if (peer->queued > 0) {
            start_sending(peer, MSG_DONTWAIT);
        } else if (partner->ended && partner != peer && !peer->finished) {
            peer->finished = true;
            shutdown(peer->fd, SHUT_WR);
        }
    }
    if (peer->broken && (peer->receiving || peer->sending)) shutdown(peer->fd, SHUT_RDWR);
    if (peer->receiving) {
        if (partner->queued > queue_limit && partner->sending && !peer->cancelling)
            stop_receiving(peer);
    } else if (!peer->starving && !peer->ended && !peer->broken && partner->queued <= queue_limit) {
        start_receiving(peer);
    }
    if (!done(peer) || !done(partner)) return;
    if (partner != peer) drop(partner);
    drop(peer);
}

static void settle_all(void) {
    while (touched != NULL) {
        struct peer* peer = touched;
        touched = peer->next_touched;
        if (touched == NULL) touched_end = &touched;
        settle(peer);
    }
}

/* Receives again for as many peers as there are buffers. With none, and no send that is about to
 * give some back, slow peers hold all of them: then there have to be more. */
static void feed_starving(void) {
    if (starving == NULL) return;
    if (supplied == 0 && prompt_sends == 0) supply_more(base_buffers);
    for (uint32_t meals = supplied; meals > 0 && starving != NULL; --meals) {
        struct peer* peer = starving;
        starving = peer->next_starving;
        if (starving == NULL) starving_end = &starving;
        peer->starving = false;
        touch(peer);
    }
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

static bool handle(const struct io_uring_cqe* cqe) {
    struct peer* peer = (struct peer*)(uintptr_t)(cqe->user_data & ~(uint64_t)operation_bits);
    switch ((enum operation)(cqe->user_data & operation_bits)) {
        case accepting:
            on_accept(cqe->res);
            break;
        case connecting:
            on_connect(peer, cqe->res);
            break;
        case receiving:
            on_receive(peer, cqe->res, cqe->flags);
            break;
        case sending:
            on_sent(peer, cqe->res);
            break;
        case ticking:
            on_tick();
            if (!(cqe->flags & IORING_CQE_F_MORE)) start_ticking();
            break;
        case ending:
            return false;
        default:
            break;
    }
    return true;
}

/* Returns false when the program is to end. */
static bool turn(void) {
    /* Peers that starve are fed a few a turn, and perhaps no other event ever comes. */
    bool feeding = starving != NULL && (supplied > 0 || prompt_sends > 0);
    unsigned wanted = feeding ? prompt_sends : prompt_sends + 1;
    int result = wanted > 0 ? io_uring_submit_and_wait(&ring, wanted)
                            : io_uring_submit_and_get_events(&ring);
    if (!transient(result)) require(result, "enter");
    if (io_uring_sq_ready(&ring) > 0) submit();
    gathered_count = 0;
    prompt_sends = 0;
    bool go_on = true;
    unsigned head, count = 0;
    struct io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring, head, cqe) {
        go_on &= handle(cqe);
        ++count;
    }
    io_uring_cq_advance(&ring, count);
    settle_all();
    feed_starving();
    settle_all();
    return go_on;
}

/* Serves until SIGTERM or SIGINT. */
static void serve(uint16_t port) {
    lift_fd_limit();
    make_ring();
    int signals = ending_signals();
    listener = listener_on(port, 0);
    announce(listener);
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_poll_add(sqe, signals, POLLIN);
    tag(sqe, NULL, ending);
    start_ticking();
    start_accept();
    while (turn()) continue;
    io_uring_queue_exit(&ring);
}
#endif
