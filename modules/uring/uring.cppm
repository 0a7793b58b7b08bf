/// The event loop of a worker: an io_uring, the operations submitted to it, a pool of buffers that
/// the kernel fills; one system call per turn.
///
/// Invariants: one ring, one thread, never across a fork; an operation lives in the frame of the
/// task that awaits it and its memory outlives its completion; a result that arrives although
/// cancelling was asked for is delivered, never dropped. Diagnostics: operations return the
/// kernel's errno as Error, ECANCELED when cancelled, ETIMEDOUT when their time limit passed; a
/// loop destroyed with operations in flight aborts. Sources: io_uring_setup(2), io_uring_enter(2),
/// io_uring_register(2); docs/decisions on the flags.
export module ringfort.uring;

export import :accepts;
export import :answers;
export import :batching;
export import :buffers;
export import :counted;
export import :crowd;
export import :diagnosis;
export import :driver;
export import :features;
export import :file;
export import :futex;
export import :gather;
export import :hangups;
export import :loop;
export import :messages;
export import :multishot;
export import :operation;
export import :post;
export import :ration;
export import :receiver;
export import :request;
export import :restriction;
export import :sender;
export import :socket;
export import :soft_ring;
export import :zero_copy;
