/// Ringfort's front door: an application names its services and runs. Re-exports what a service is
/// written with.
///
/// Invariants: the only place that knows both master and worker.
/// Diagnostics: what keeps a program from starting goes to standard error, with exit code 1.
export module ringfort;

export import ringfort.base;
export import ringfort.config;
export import ringfort.coro;
export import ringfort.net;
export import ringfort.shm;
export import ringfort.uring;
export import ringfort.worker;
export import :app;
export import :command_line;
export import :confinement;
export import :locked_memory;
export import :reach;
export import :single;
export import :start;
export import :zones;

/// The names that every service uses, without their layer.
export namespace ringfort {
/// The coroutine type of `serve`.
using coro::Task;
}  // namespace ringfort
