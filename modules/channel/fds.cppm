export module ringfort.channel:fds;

import ringfort.base;
import ringfort.std;

export namespace ringfort::channel {

/// Owns the descriptors that travel with one message, in order, at most `limits::max_message_fds`.
/// Allocates nothing. Moves, never copies; a moved-from one is empty.
class Fds {
public:
    Fds() noexcept = default;
    /// Takes one descriptor, so that `send(message, std::move(fd))` reads well. An empty Fd adds
    /// nothing.
    Fds(Fd fd) noexcept { push(static_cast<Fd&&>(fd)); }
    Fds(Fds&& other) noexcept;
    Fds& operator=(Fds&& other) noexcept;
    ~Fds() = default;

    /// Appends a descriptor and takes ownership; an empty Fd adds nothing. Aborts when full.
    void push(Fd fd) noexcept;

    /// Counts the descriptors held.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// Returns the descriptor at `index`, to use or to move out of. Aborts past the end.
    [[nodiscard]] Fd& operator[](std::size_t index) noexcept;
    [[nodiscard]] const Fd& operator[](std::size_t index) const noexcept;
    [[nodiscard]] const Fd* begin() const noexcept { return fds_.data(); }
    [[nodiscard]] const Fd* end() const noexcept { return fds_.data() + size_; }

private:
    std::array<Fd, limits::max_message_fds> fds_;
    std::size_t size_ = 0;
};

}  // namespace ringfort::channel
