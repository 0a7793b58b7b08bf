/// The master: decides about workers and generations (policy) and carries the decisions out (loop).
///
/// Invariants: reads no byte of a client, never blocks, runs no coroutine, has no ring; `policy` is
/// pure and knows no kernel.
/// Diagnostics: what goes wrong with one worker is logged and answered by policy; only a broken
/// invariant ends the master.
/// Source: nginx src/os/unix/ngx_process_cycle.c; docs/reference/signals.md.
export module ringfort.master;

export import :policy;
