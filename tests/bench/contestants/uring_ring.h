/* The ring, the buffers and the bytes that wait in them: the lower half of uring_streams.h, which
 * says how it all works. */
#ifndef RINGFORT_BENCH_URING_RING_H
#define RINGFORT_BENCH_URING_RING_H
#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>

#include "contest.h"

enum {
    sq_entries = 1024,
    cq_entries = 8192,
    most_buffers = 1024,       /* power of two: size of the buffers' ring */
    queue_limit = 1024 * 1024, /* bytes waiting for a peer that does not take them */
    most_pieces = 16,          /* of one sendmsg */
    idle_limit_s = 60,
    buffer_group = 0,
    nothing = -1,
};

enum operation {
    accepting,
    connecting,
    receiving,
    sending,
    ticking,
    ending,
    forgotten,
    operation_bits = 7
};

/* Received bytes still to be sent. */
struct piece {
    int32_t next; /* of the same peer, or of the free ones */
    uint32_t at;  /* offset in its buffer */
    uint32_t size;
    uint32_t buffer;
};

struct peer {
    struct peer* partner; /* gets what this one sends */
    int fd;
    uint32_t heard_s;           /* when bytes last came or went */
    uint32_t slot;              /* in peers */
    uint32_t queued;            /* bytes in its pieces: to be sent to it */
    int32_t first, last;        /* piece */
    struct peer* next_touched;  /* list of those to look at before the turn ends */
    struct peer* next_starving; /* list of those who found no buffer */
    bool touched, starving, connecting, receiving, sending, cancelling;
    bool ended;    /* nothing more comes from it */
    bool broken;   /* its connection, or its partner's, has failed */
    bool finished; /* it was told that nothing more comes */
};

struct gathered {
    struct msghdr head;
    struct iovec parts[most_pieces];
};

/* Options. */
static uint32_t buffer_size = 64 * 1024, base_buffers = 16;
static int receive_flags; /* IORING_RECVSEND_BUNDLE or 0 */

static struct io_uring ring;
static int listener;
static uint32_t now_s;
static bool accept_later;
static unsigned prompt_sends; /* of this turn; each completes while it is submitted */

static struct peer** peers;
static uint32_t peer_count, peer_room;
static struct peer *touched, **touched_end = &touched;
static struct peer *starving, **starving_end = &starving;

static struct piece* pieces;
static uint32_t piece_count;
static int32_t free_piece = nothing;
static struct gathered gathered[sq_entries];
static unsigned gathered_count;

static struct io_uring_buf_ring* buffers;
static char* memory;
static uint32_t buffer_count; /* ever used */
static uint32_t supplied;     /* the kernel has them */
static uint32_t filled[most_buffers], users[most_buffers];
static uint32_t parked[most_buffers], parked_count;
static uint32_t order[most_buffers], order_tail; /* in which they were supplied */
static uint32_t order_head;                      /* the one being filled */

/* ---- submitting -------------------------------------------------------------------------------
 */

static bool transient(int result) {
    return result == -EINTR || result == -EAGAIN || result == -EBUSY;
}

static void submit(void) {
    do {
        int result = io_uring_submit(&ring);
        if (!transient(result)) require(result, "submit");
    } while (io_uring_sq_ready(&ring) > 0);
    gathered_count = 0; /* the kernel has copied the headers */
}

static struct io_uring_sqe* entry(void) {
    struct io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    if (sqe != NULL) return sqe;
    submit();
    return io_uring_get_sqe(&ring);
}

static void tag(struct io_uring_sqe* sqe, void* owner, enum operation operation) {
    io_uring_sqe_set_data64(sqe, (uintptr_t)owner | operation);
}

static void start_accept(void) {
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    tag(sqe, NULL, accepting);
}

static void start_receiving(struct peer* peer) {
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_recv_multishot(sqe, peer->fd, NULL, 0, 0);
    sqe->ioprio |= (uint16_t)receive_flags;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    tag(sqe, peer, receiving);
    peer->receiving = true;
}

static void stop_receiving(struct peer* peer) {
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_cancel64(sqe, (uintptr_t)peer | receiving, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, NULL, forgotten);
    peer->cancelling = true;
}

static void start_ticking(void) {
    static struct __kernel_timespec second = {.tv_sec = 1};
    struct io_uring_sqe* sqe = entry();
    io_uring_prep_timeout(sqe, &second, 0, IORING_TIMEOUT_MULTISHOT);
    tag(sqe, NULL, ticking);
}

static char* bytes_of(const struct piece* piece) {
    return memory + (size_t)piece->buffer * buffer_size + piece->at;
}

static void start_sending(struct peer* peer, int flags) {
    struct io_uring_sqe* sqe = entry();
    struct piece* piece = &pieces[peer->first];
    flags |= MSG_NOSIGNAL | MSG_WAITALL;
    if (piece->next == nothing) {
        io_uring_prep_send(sqe, peer->fd, bytes_of(piece), piece->size, flags);
    } else {
        struct gathered* all = &gathered[gathered_count++];
        all->head = (struct msghdr){.msg_iov = all->parts};
        for (int32_t i = peer->first; i != nothing && all->head.msg_iovlen < most_pieces;
             i = pieces[i].next)
            all->parts[all->head.msg_iovlen++] =
                (struct iovec){.iov_base = bytes_of(&pieces[i]), .iov_len = pieces[i].size};
        io_uring_prep_sendmsg(sqe, peer->fd, &all->head, (unsigned)flags);
    }
    tag(sqe, peer, sending);
    peer->sending = true;
    if (flags & MSG_DONTWAIT) ++prompt_sends;
}

/* ---- buffers and pieces -----------------------------------------------------------------------
 */

static void supply(uint32_t buffer) {
    filled[buffer] = 0;
    users[buffer] = 1; /* the kernel */
    ++supplied;
    order[order_tail++ % most_buffers] = buffer;
    io_uring_buf_ring_add(buffers, memory + (size_t)buffer * buffer_size, buffer_size,
                          (unsigned short)buffer, io_uring_buf_ring_mask(most_buffers), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void release(uint32_t buffer) {
    if (--users[buffer] > 0) return;
    if (supplied < base_buffers)
        supply(buffer);
    else
        parked[parked_count++] = buffer;
}

static void supply_more(uint32_t count) {
    for (; count > 0 && parked_count > 0; --count) supply(parked[--parked_count]);
    for (; count > 0 && buffer_count < most_buffers; --count) supply(buffer_count++);
}

static void more_pieces(void) {
    uint32_t count = piece_count > 0 ? 2 * piece_count : 1024;
    pieces = realloc(pieces, count * sizeof *pieces);
    if (pieces == NULL) die("realloc");
    for (uint32_t i = count; i-- > piece_count;) {
        pieces[i].next = free_piece;
        free_piece = (int32_t)i;
    }
    piece_count = count;
}

static void queue(struct peer* peer, uint32_t buffer, uint32_t at, uint32_t size) {
    peer->queued += size;
    if (peer->last != nothing && !peer->sending) {
        struct piece* last = &pieces[peer->last];
        if (last->buffer == buffer && last->at + last->size == at) {
            last->size += size;
            return;
        }
    }
    if (free_piece == nothing) more_pieces();
    int32_t i = free_piece;
    free_piece = pieces[i].next;
    pieces[i] = (struct piece){.next = nothing, .at = at, .size = size, .buffer = buffer};
    ++users[buffer];
    if (peer->last == nothing)
        peer->first = i;
    else
        pieces[peer->last].next = i;
    peer->last = i;
}

/* Takes received bytes over: from the buffer being filled and, in a bundle, from the next ones. */
static void take(struct peer* peer, uint32_t size) {
    while (size > 0) {
        uint32_t buffer = order[order_head % most_buffers];
        uint32_t room = buffer_size - filled[buffer];
        uint32_t part = size < room ? size : room;
        if (!peer->broken) queue(peer, buffer, filled[buffer], part);
        filled[buffer] += part;
        size -= part;
        if (part < room) return;
        ++order_head;
        --supplied;
        release(buffer);
    }
}

static void dequeue(struct peer* peer, uint32_t size) {
    peer->queued -= size;
    while (size > 0) {
        int32_t i = peer->first;
        struct piece* piece = &pieces[i];
        if (size < piece->size) {
            piece->at += size;
            piece->size -= size;
            return;
        }
        size -= piece->size;
        release(piece->buffer);
        peer->first = piece->next;
        piece->next = free_piece;
        free_piece = i;
    }
    if (peer->first == nothing) peer->last = nothing;
}

static void make_ring(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_NO_SQARRAY | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
        .cq_entries = cq_entries};
    require(io_uring_queue_init_params(sq_entries, &ring, &parameters), "io_uring_setup");
    require(io_uring_register_ring_fd(&ring), "register the ring");
    int error = 0;
    buffers = io_uring_setup_buf_ring(&ring, most_buffers, buffer_group, IOU_PBUF_RING_INC, &error);
    if (buffers == NULL) {
        errno = -error;
        die("set up the buffers");
    }
    memory = mmap(NULL, (size_t)most_buffers * buffer_size + in_page, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) die("mmap");
    memory += in_page;
    supply_more(base_buffers);
}

/* "16x64": how many buffers and their KiB. Ends the program when it is neither that nor absent. */
static void choose_buffers(const char* text, const char* usage) {
    unsigned count = base_buffers, kib = buffer_size / 1024;
    if (text != NULL && (sscanf(text, "%ux%u", &count, &kib) != 2 || count < 1 ||
                         count > most_buffers || kib < 1 || kib > 16 * 1024))
        port_of(NULL, usage);
    base_buffers = count;
    buffer_size = kib * 1024;
}
#endif
