export module ringfort.config:changes;

import ringfort.std;
import :registry;
import :settings;

export namespace ringfort::config {

/// Says which values differ between two configurations: `master.workers: 2 -> 4`, a line each.
/// Listeners and zones are not compared: what becomes of them is their cycle's to say.
[[nodiscard]] std::vector<std::string> changes(const Settings& before, const Settings& after,
                                               const Registry& registry);

}  // namespace ringfort::config
