module;
#include <sys/socket.h>

#include <compare>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;

namespace ringfort::worker {

void Peers::open(Key self, Key peer, Fd end) {
    auto channel = channel::Channel::adopt(std::move(end));
    const auto greeted =
        channel.send(channel::Hello{.slot = self.slot, .generation = self.generation});
    if (!greeted)
        log::debug("worker {} of generation {} has gone before it was greeted: {}", peer.slot,
                   peer.generation, greeted.error().text());
    close(peer);
    channels_.emplace(peer, std::move(channel));
}

void Peers::close(Key peer) noexcept {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return;
    // A poll in flight keeps the socket alive past its close: only this tells both ends.
    (void)::shutdown(found->second.fd(), SHUT_RDWR);
    channels_.erase(found);
}

bool Peers::receive(Key peer) {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return false;
    for (;;) {
        const auto received = found->second.receive();
        if (received && !*received) return true;
        if (!received) {
            if (!received.error().is(std::errc::connection_reset))
                log::warning("worker {} of generation {}: {}", peer.slot, peer.generation,
                             received.error().text());
            break;
        }
        const auto* hello = std::get_if<channel::Hello>(&(*received)->message);
        if (hello == nullptr || Key{hello->generation, hello->slot} != peer) {
            log::warning("worker {} of generation {} sent a message that is not a worker's",
                         peer.slot, peer.generation);
            break;
        }
        log::debug("channel to worker {} open", peer.slot);
    }
    channels_.erase(found);
    return false;
}

RawFd Peers::fd(Key peer) const noexcept {
    const auto found = channels_.find(peer);
    return found == channels_.end() ? -1 : found->second.fd();
}

}  // namespace ringfort::worker
