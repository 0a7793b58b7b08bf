/// The vocabulary every layer speaks: failures as values, owned descriptors, addresses, time,
/// limits and the log.
///
/// Invariants: knows nothing of rings, processes or configuration; allocates only for text.
/// Diagnostics: fallible operations return `Result`; a broken invariant aborts through `ensure`.
export module ringfort.base;

export import :address;
export import :bytes;
export import :clock;
export import :ensure;
export import :error;
export import :fd;
export import :limits;
export import :log;
export import :result;
