/// The worker: runs services on one loop and obeys the master's commands, which come with their
/// descriptors over a channel.
///
/// Invariants: opens no listener and inherits none; trusts no message beyond what `channel` has
/// validated; when it stops it first stops accepting, still serves what was accepted at that very
/// moment, and only then waits for its connections.
/// Diagnostics: what keeps it from starting goes to the master as `Failed`; a lost command (full
/// descriptor table) or a master that sends garbage ends the worker; the end of the channel means
/// that the master has gone, and drains. Source: nginx src/os/unix/ngx_process_cycle.c,
/// ngx_worker_process_cycle, ngx_channel_handler.
export module ringfort.worker;

export import :context;
export import :peers;
export import :run;
export import :service;
