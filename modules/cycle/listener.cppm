module;
#include <sys/types.h>
export module ringfort.cycle:listener;

import ringfort.base;
import ringfort.config;
import ringfort.std;

export namespace ringfort::cycle {

/// Whose a socket's file is to be; what is absent is left as it is.
struct Owner {
    std::optional<uid_t> user;
    std::optional<gid_t> group;
};

/// Looks `owner` and `group` of a listener up. Blocks as long as the system's name service does.
/// Errors: ENOENT with the step "look up the user" or "look up the group".
[[nodiscard]] Result<Owner> find_owner(const config::Listener& settings);

/// When a socket gets the address of the one that it is opened beside.
enum class Bound {
    at_once,  ///< but one of UDP
    later
};

/// A listening socket, or one of UDP that is bound: shared by the cycles that have it, closed with
/// the last of them. The socket file of a unix listener is removed then too, but only by the
/// process that owns it: who made it, until it is passed on.
///
/// Several sockets may have one address (SO_REUSEPORT): a group, among which the kernel shares out
/// new connections, or the senders of datagrams. Its order is that in which they began to listen;
/// one that leaves is replaced by the last (net/core/sock_reuseport.c).
///
/// A socket of UDP listens as soon as it is bound: datagrams wait in it.
class Listener {
public:
    /// Opens, binds and listens. A stale socket file, whose server has died, is replaced. Blocks
    /// for at most `limits::bind_attempts` times `limits::bind_retry_ms`, because the socket of a
    /// killed ring is released a little late. With `settings.reuseport` it is the first of a group:
    /// others may join it, but it joins nobody. Errors: EADDRINUSE when somebody listens there,
    /// EACCES, EADDRNOTAVAIL and the others of bind(2) and listen(2); EPERM of chown(2).
    [[nodiscard]] static Result<std::shared_ptr<Listener>> open(const config::Listener& settings,
                                                                const Owner& owner = {});
    /// Takes a socket over that another process has opened for `configured`: one that listens, or
    /// is to join a group. Until `own` it leaves the socket file to that process. Errors: EINVAL
    /// for connections' that is bound to nothing, and for datagrams' that is not of UDP; those of
    /// getsockname(2).
    [[nodiscard]] static Result<std::shared_ptr<Listener>> adopt(Fd socket,
                                                                 const Address& configured);
    Listener(Listener&&) = delete;
    ~Listener();

    /// Opens one more socket at the address of this one, for its group. No connection comes to it
    /// before `begin`, which is what binds one of UDP. One that is bound at once leaves its mark on
    /// this one: others of this user may join it from then on (the kernel remembers it of the
    /// address, even if SO_REUSEPORT is taken back). Errors: those of socket(2), setsockopt(2) and
    /// bind(2).
    [[nodiscard]] Result<std::shared_ptr<Listener>> open_beside(const config::Listener& settings,
                                                                Bound bound = Bound::at_once) const;
    /// Listens, if it does not already. Errors: those of listen(2) or bind(2).
    [[nodiscard]] Result<void> begin(const config::Listener& settings);
    [[nodiscard]] bool listening() const noexcept { return listening_; }

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
    /// Leaves the file to somebody who is no process of ours, for good.
    void leave_file() noexcept {
        foreign_ = true;
        disown();
    }
    [[nodiscard]] bool foreign() const noexcept { return foreign_; }
    void disown() noexcept { owner_ = -1; }
    [[nodiscard]] config::Protocol protocol() const noexcept { return protocol_; }
    /// Returns the address it is bound to for people: "127.0.0.1:53/udp".
    [[nodiscard]] std::string text() const { return bound_.text() + config::suffix(protocol_); }
    /// Tells whether a connection waits to be accepted, or a datagram to be received.
    [[nodiscard]] bool has_waiting() const noexcept;
    /// Applies what may change while the socket stays: the backlog, the options, whether others may
    /// join it, mode and owner of the file. What fails is logged and left as it was.
    void update(const config::Listener& settings, const Owner& owner = {}) const;

    /// Has new connections of the group go to the first `count` that listen; 0: to all. Those that
    /// wait stay where they are. Errors: those of setsockopt(2), SO_ATTACH_REUSEPORT_CBPF.
    [[nodiscard]] Result<void> direct_to_first(std::uint32_t count) const;
    /// Leaves the group and refuses what waits, whoever else holds the socket. One of UDP keeps
    /// what waits, and gets nothing more from anybody but itself.
    void end() const noexcept;

private:
    Listener(Fd socket, const Address& configured, const Address& bound,
             config::Protocol protocol) noexcept;
    [[nodiscard]] bool file_is_ours() const noexcept;

    Fd socket_;
    Address configured_;
    Address bound_;
    pid_t owner_;
    dev_t device_ = 0;  ///< with `inode_`: which socket file is ours
    ino_t inode_ = 0;
    config::Protocol protocol_;
    bool listening_ = false;
    bool foreign_ = false;  ///< its file is the service manager's
};

}  // namespace ringfort::cycle
