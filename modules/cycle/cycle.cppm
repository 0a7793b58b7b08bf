/// One generation's snapshot of everything that outlives its workers: settings, listeners, zones,
/// the log file. Built from its predecessor, complete or not at all.
///
/// Invariants: building changes nothing that the old cycle uses; what both need they share, so the
/// old one may go at any time; after a cycle was built, making it current cannot fail. Diagnostics:
/// every obstacle of a build is reported, not only the first. Source: nginx src/core/ngx_cycle.c,
/// ngx_init_cycle; src/core/ngx_connection.c.
export module ringfort.cycle;

export import :changes;
export import :listener;
export import :log_file;
export import :passed;
export import :plan;
export import :snapshot;
export import :stock;
export import :zones;
