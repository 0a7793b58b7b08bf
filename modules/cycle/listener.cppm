module;
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
export module ringfort.cycle:listener;

import ringfort.base;
import ringfort.config;

export namespace ringfort::cycle {

/// A listening socket: shared by the cycles that have it, closed with the last of them. The socket
/// file of a unix listener is removed then too, but only by the process that owns it: who made it,
/// until it is passed on.
class Listener {
public:
    /// Opens, binds and listens. A stale socket file, whose server has died, is replaced. Blocks
    /// for at most `limits::bind_attempts` times `limits::bind_retry_ms`, because the socket of a
    /// killed ring is released a little late. Errors: EADDRINUSE when somebody listens there,
    /// EACCES, EADDRNOTAVAIL and the others of bind(2) and listen(2).
    [[nodiscard]] static Result<std::shared_ptr<Listener>> open(const config::Listener& settings);
    /// Takes a listening socket over that another process has opened for `configured`. Until `own`
    /// it leaves the socket file to that process. Errors: EINVAL for what does not listen; those of
    /// getsockname(2).
    [[nodiscard]] static Result<std::shared_ptr<Listener>> adopt(Fd socket,
                                                                 const Address& configured);
    Listener(Listener&&) = delete;
    ~Listener();

    /// Returns the address as it was configured: what a later configuration is compared with.
    [[nodiscard]] const Address& configured() const noexcept { return configured_; }
    /// Returns the address with the port that the kernel picked.
    [[nodiscard]] const Address& bound() const noexcept { return bound_; }
    [[nodiscard]] const Fd& socket() const noexcept { return socket_; }
    /// Tells whether clients can reach it: false for a unix socket whose file was removed or
    /// replaced.
    [[nodiscard]] bool reachable() const noexcept {
        return bound_.path().empty() || file_is_ours();
    }
    /// Makes this process the one that removes the socket file, or makes it leave the file to the
    /// process that the socket was passed to.
    void own() noexcept;
    void disown() noexcept { owner_ = -1; }
    /// Applies what may change while the socket stays: the backlog and the mode of the file.
    /// What fails is logged and left as it was.
    void update(const config::Listener& settings) const;

private:
    Listener(Fd socket, const Address& configured, const Address& bound) noexcept;
    [[nodiscard]] bool file_is_ours() const noexcept;

    Fd socket_;
    Address configured_;
    Address bound_;
    pid_t owner_;
    dev_t device_ = 0;  ///< with `inode_`: which socket file is ours
    ino_t inode_ = 0;
};

}  // namespace ringfort::cycle
