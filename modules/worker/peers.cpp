module;
#include <sys/socket.h>

#include <compare>
#include <coroutine>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>
module ringfort.worker;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;

namespace ringfort::worker {

void Peers::open(Key self, Key peer, Fd end) {
    auto channel = channel::Channel::adopt(std::move(end));
    const auto greeted =
        channel.send(channel::Hello{.slot = self.slot, .generation = self.generation});
    if (!greeted)
        log::debug("worker {} of generation {} has gone before it was greeted: {}", peer.slot,
                   peer.generation, greeted.error().text());
    close(peer);
    channels_.emplace(peer, std::make_shared<Open>(std::move(channel)));
}

void Peers::close(Key peer) noexcept {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return;
    // Who polls it holds it, so that only this tells both ends.
    (void)::shutdown(found->second->channel.fd(), SHUT_RDWR);
    channels_.erase(found);
}

std::vector<Peers::Key> Peers::all() const {
    std::vector<Key> keys;
    for (const auto& [key, open] : channels_) keys.push_back(key);
    return keys;
}

Result<void> Peers::send(Key peer, PeerMessage message) {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return Error{"send to a worker", std::errc::not_connected};
    channel::Channel& channel = found->second->channel;
    if (channel.queued() >= limits::peer_queue_messages)
        return Error{"send to a worker", std::errc::no_buffer_space};
    const auto sent = channel.send(channel::ServiceMessage{.service = std::move(message.service),
                                                           .type = message.type,
                                                           .bytes = std::move(message.bytes)},
                                   std::move(message.fd));
    if (channel.queued() > 0) stalled_.set();
    return sent;
}

bool Peers::flush() {
    bool waits = false;
    for (auto& [peer, open] : channels_) {
        if (const auto flushed = open->channel.flush(); !flushed)
            log::debug("to worker {}: {}", peer.slot, flushed.error().text());
        waits = waits || open->channel.queued() > 0;
    }
    return waits;
}

Result<std::optional<PeerMessage>> Peers::receive(Key peer) {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return Error{"receive from a worker", std::errc::not_connected};
    auto message = next(peer, *found->second);
    if (message) return message;
    if (!message.error().is(std::errc::connection_reset))
        log::warning("worker {} of generation {}: {}", peer.slot, peer.generation,
                     message.error().text());
    channels_.erase(found);
    return message;
}

Result<std::optional<PeerMessage>> Peers::next(Key peer, Open& open) {
    for (;;) {
        auto received = open.channel.receive();
        if (!received) return received.error();
        if (!*received) return std::optional<PeerMessage>{};
        channel::Message& message = (*received)->message;
        if (auto* told = std::get_if<channel::ServiceMessage>(&message);
            told != nullptr && open.greeted) {
            channel::Fds& fds = (*received)->fds;
            return std::optional{PeerMessage{.service = std::move(told->service),
                                             .type = told->type,
                                             .bytes = std::move(told->bytes),
                                             .fd = fds.empty() ? Fd{} : std::move(fds[0]),
                                             .from = peer}};
        }
        const auto* hello = std::get_if<channel::Hello>(&message);
        if (hello == nullptr || Key{hello->generation, hello->slot} != peer)
            return Error{"receive a message that is not a worker's", std::errc::protocol_error};
        open.greeted = true;
        log::debug("channel to worker {} open", peer.slot);
    }
}

std::shared_ptr<const channel::Channel> Peers::channel(Key peer) const noexcept {
    const auto found = channels_.find(peer);
    if (found == channels_.end()) return nullptr;
    return {found->second, &found->second->channel};
}

std::vector<PeerId> Context::peers() const {
    return peers_ == nullptr ? std::vector<PeerId>{} : peers_->all();
}

Result<void> Context::send(PeerId to, PeerMessage message) {
    if (peers_ == nullptr) return Error{"send to a worker", std::errc::not_connected};
    return peers_->send(to, std::move(message));
}

std::size_t Context::broadcast(const PeerMessage& message) {
    std::size_t sent = 0;
    for (const PeerId peer : peers()) {
        PeerMessage copy{.service = message.service, .type = message.type, .bytes = message.bytes};
        if (message.fd) {
            auto fd = message.fd.duplicate();
            if (!fd) return sent;
            copy.fd = *std::move(fd);
        }
        if (send(peer, std::move(copy))) ++sent;
    }
    return sent;
}

}  // namespace ringfort::worker
