export module ringfort.config:print;

import ringfort.std;
import :registry;
import :schema;
import :settings;

export namespace ringfort::config {

/// Prints a configuration as TOML with every key, and each key's meaning where it first stands.
/// Reading it with the same registry gives equal settings. Optional keys without a value become
/// comments.
[[nodiscard]] std::string effective(const Settings& settings, const Registry& registry);

/// Writes the reference of all keys in Markdown: name, type, default, range, meaning. The core
/// first, then each registered service.
[[nodiscard]] std::string reference(const Registry& registry);

}  // namespace ringfort::config

namespace ringfort::config {

/// Prints a table with its header, as `effective` does for a service that no listener uses.
std::string print_table(const TableSchema& schema, const std::string& path, const void* object);

}  // namespace ringfort::config
