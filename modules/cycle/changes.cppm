export module ringfort.cycle:changes;

import ringfort.std;
import :snapshot;

export namespace ringfort::cycle {

/// Says what becomes of the listeners and zones of `before` when `after`, which was built from it,
/// takes its place, a line each: kept, opened, closed.
[[nodiscard]] std::vector<std::string> changes(const Cycle& before, const Cycle& after);

}  // namespace ringfort::cycle
