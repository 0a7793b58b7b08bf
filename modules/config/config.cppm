/// TOML text to immutable typed values. All that is wrong with a text is reported at once, each
/// with file, line, column, the source line, a caret and a remedy.
///
/// A schema (`table<T>(...).field(...)`) is the single source for reading, for printing the
/// effective configuration and for the reference. The core's own is `core_schema()`; services
/// bring theirs through a `Registry`.
///
/// Invariants: knows nothing of what the values do; holds no descriptor and has no side effects,
/// except that `load` reads a file. The TOML library is seen by one unit and its types by nobody.
/// Size of the text, nesting, parts of a key, items and reported problems are bounded by `limits`.
/// Diagnostics: `Problems`; a schema that contradicts itself aborts when it is built.
/// Source: TOML 1.0.0; messages after rustc's and cargo's.
export module ringfort.config;

export import :changes;
export import :source;
export import :problem;
export import :node;
export import :report;
export import :codec;
export import :schema;
export import :registry;
export import :listener;
export import :sandbox;
export import :settings;
export import :parse;
export import :print;
