/// The load generator: many connections to one server, every byte checked, every failure counted,
/// latency in a histogram. A program without listeners: it needs no master, no configuration and no
/// worker, so it opens a Loop itself (`run`) instead of being a service of an App. What a service
/// would get from the facade it has no use for: nobody reloads, upgrades or drains a client.
///
/// Invariants: reads the clocks only where docs/performance.md says; allocates nothing for each
/// request; a connection fails in one way and is counted once.
/// Diagnostics: `run` returns an Error only for what keeps it from starting; everything a server or
/// the network does wrong is in the Report.
export module load;

export import :histogram;
export import :interrupt;
export import :options;
export import :payload;
export import :plot;
export import :render;
export import :report;
export import :run;
export import :target;
export import :usage;
