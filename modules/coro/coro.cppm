/// Structured concurrency on one thread: lazy tasks with symmetric transfer, scopes that wait for
/// what they started, cancellation that reaches the leaf a task waits in, and a queue of what may
/// go on.
///
/// Invariants: makes no system call and knows no ring; nothing is resumed from inside another
/// coroutine but through a Scheduler or by symmetric transfer; a frame is never destroyed while it
/// waits for something.
/// Diagnostics: waiting that was cancelled returns ECANCELED; destroying a running task, a scope
/// with children or a source with hooks aborts. Sources: Lewis Baker, "Understanding symmetric
/// transfer"; Nathaniel J. Smith, "Notes on structured concurrency".
export module ringfort.coro;

export import :cancel;
export import :context;
export import :event;
export import :frames;
export import :list;
export import :outcome;
export import :ready;
export import :scheduler;
export import :scope;
export import :stall;
export import :task;
export import :timer;
export import :waiter;
