/// The master: decides about workers and generations (policy) and carries the decisions out (loop).
///
/// Invariants: reads no byte of a client, runs no coroutine, has no ring; `policy` is pure and
/// knows no kernel; a worker gets its listeners and zones by message, never by inheritance; what a
/// worker sends is validated, and one that sends garbage is killed. Diagnostics: what goes wrong
/// with one worker is logged and answered by policy; only a broken invariant ends the master.
/// Orders come as signals, or as lines at the control socket, which are answered. Source: nginx
/// src/os/unix/ngx_process_cycle.c; docs/reference/signals.md.
export module ringfort.master;

export import :builder;
export import :control;
export import :equip;
export import :estate;
export import :loop;
export import :policy;
export import :pools;
export import :roster;
export import :shortcomings;
export import :state;
