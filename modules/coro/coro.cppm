/// Structured concurrency on one thread: lazy tasks with symmetric transfer, scopes that wait for
/// what they started, cancellation that reaches the leaf a task waits in, time limits, and what
/// tasks wait for among themselves: events, mutexes, semaphores, channels, sequences. A Scheduler
/// resumes what may go on, fairly, and fires timers.
///
/// Invariants: makes no system call but for reading the clock (a stall is written to the log), and
/// knows no ring; nothing is resumed from inside another coroutine but through a Scheduler or by
/// symmetric transfer; a frame is never destroyed while it waits for something; in the steady state
/// nothing is allocated. Members that are part of every call, resumption or timer are `inline` in
/// the interfaces: in a named module a definition within a class is not so by itself.
/// Diagnostics: waiting that was cancelled returns ECANCELED, a time limit ETIMEDOUT; destroying
/// what a task waits for or runs in aborts. Sources: Lewis Baker, "Understanding symmetric
/// transfer"; Nathaniel J. Smith, "Notes on structured concurrency"; tokio's cooperative budget.
export module ringfort.coro;

export import :cancel;
export import :channel;
export import :context;
export import :event;
export import :frames;
export import :list;
export import :mutex;
export import :outcome;
export import :ready;
export import :ring;
export import :scheduler;
export import :scope;
export import :semaphore;
export import :sequence;
export import :sleep;
export import :stall;
export import :task;
export import :timeout;
export import :timer;
export import :waiter;
export import :when;
