module;
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
export module ringfort.worker:peers;

import ringfort.base;
import ringfort.channel;

export namespace ringfort::worker {

/// The channels to the other workers, opened and closed by the master's commands.
class Peers {
public:
    struct Key {
        std::uint32_t generation = 0;
        std::uint32_t slot = 0;
        friend auto operator<=>(const Key&, const Key&) = default;
    };

    /// Takes one end of a channel to `peer` and greets it as `self`. A channel that was open to the
    /// same peer is replaced.
    void open(Key self, Key peer, Fd end);
    /// Closes the channel to `peer`; does nothing when there is none.
    void close(Key peer) noexcept;
    void close_all() noexcept { channels_.clear(); }
    [[nodiscard]] std::size_t size() const noexcept { return channels_.size(); }

    /// Receives everything that waits on the channel to `peer`. Returns whether the channel goes
    /// on: it is closed, here, when the peer has gone or sent something that it must not send.
    bool receive(Key peer);
    /// Returns the descriptor of the channel to `peer`, borrowed; -1 when there is none.
    [[nodiscard]] RawFd fd(Key peer) const noexcept;

private:
    std::map<Key, channel::Channel> channels_;
};

}  // namespace ringfort::worker
