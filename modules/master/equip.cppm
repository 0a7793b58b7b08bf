module;
#include <cstddef>
export module ringfort.master:equip;

import ringfort.base;
import ringfort.channel;
import ringfort.cycle;

export namespace ringfort::master {

/// Sends a new worker what it still needs: zones, listeners and at last `start`, as far as its
/// channel takes it at once. `sent` counts what it has got; call again, with the same, when the
/// channel has room and nothing queued. So at most one listener waits in a queue, where each would
/// be a further descriptor of this process. Errors: those of `Channel::send`; EMFILE.
[[nodiscard]] Result<void> equip(channel::Channel& worker, const cycle::Cycle& cycle,
                                 const channel::Start& start, std::size_t& sent);

}  // namespace ringfort::master
