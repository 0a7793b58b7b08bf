export module ringfort.master:equip;

import ringfort.base;
import ringfort.channel;
import ringfort.config;
import ringfort.cycle;
import ringfort.std;

export namespace ringfort::master {

/// Names a socket in messages.
[[nodiscard]] std::uint32_t id_of(cycle::Place place) noexcept;

/// Returns the sockets that the worker of a slot has for itself, and that listen.
[[nodiscard]] std::vector<cycle::Place> own_places(const cycle::Cycle& cycle, std::uint32_t slot);

/// Gives a worker a socket. Errors: those of `Channel::send`; EMFILE.
[[nodiscard]] Result<void> give(channel::Channel& worker, const cycle::Cycle& cycle,
                                cycle::Place place);

/// Sends a new worker what it still needs: zones, listeners and at last `start`, as far as its
/// channel takes it at once. `sent` counts what it has got; call again, with the same, when the
/// channel has room and nothing queued. So at most one listener waits in a queue, where each would
/// be a further descriptor of this process. Errors: those of `Channel::send`; EMFILE.
[[nodiscard]] Result<void> equip(channel::Channel& worker, const cycle::Cycle& cycle,
                                 const channel::Start& start, std::size_t& sent);

/// Lets this process, which holds descriptors for all workers, have as many as it may. Warns when a
/// worker cannot have what the settings promise.
void raise_descriptors(const config::Settings& settings);

}  // namespace ringfort::master
