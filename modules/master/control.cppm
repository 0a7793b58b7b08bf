module;
#include <poll.h>
#include <sys/types.h>
export module ringfort.master:control;

import ringfort.base;
import ringfort.cycle;
import ringfort.std;

export namespace ringfort::master {

/// What somebody at the control socket asks for, and the number by which to answer.
struct ControlRequest {
    std::uint64_t client = 0;
    pid_t sender = 0;  ///< as the kernel saw it when it connected; 0: of another pid namespace
    std::string order;
};

/// How a request went, and what there is to say about it, a line each.
struct ControlAnswer {
    bool success = false;
    std::string text;
};

/// The server's side of the control socket: each client sends one line, the order, and is answered
/// with text whose last line is `ok` or `failed`; then the connection is closed. Never blocks; a
/// client that is slow to ask or to read is dropped after `limits::control_timeout_ms`.
class ControlServer {
public:
    /// Has new clients come through `door`, a listening socket; nullptr: no more come. Those that
    /// are here stay.
    void listen(std::shared_ptr<cycle::Listener> door) noexcept;
    /// Returns the path it listens at; empty when at none, or when the file is not its own any
    /// more.
    [[nodiscard]] std::string path() const;
    /// Returns where clients come in; nullptr for nowhere.
    [[nodiscard]] const std::shared_ptr<cycle::Listener>& door() const noexcept { return door_; }

    /// Appends what is to be polled before the next `serve`.
    void add_to(std::vector<pollfd>& polled, Instant time) const;
    /// Returns when to call `serve` though nothing happens.
    [[nodiscard]] std::optional<Instant> next_deadline() const;
    /// Goes on with what `add_to` appended, as it was polled; returns what is asked for.
    [[nodiscard]] std::vector<ControlRequest> serve(std::span<const pollfd> polled, Instant time);
    /// Answers a client; does nothing when it has gone.
    void answer(std::uint64_t client, const ControlAnswer& answer, Instant time);
    /// Sends what the sockets take at once of all answers, and closes everything.
    void end() noexcept;

private:
    enum class Phase : std::uint8_t { asking, waiting, answered };
    struct Client {
        std::uint64_t number = 0;
        Fd socket;
        Instant due;  ///< when it is dropped, but while it waits
        Phase phase = Phase::asking;
        bool gone = false;
        std::string text;      ///< of its order, then of the answer
        std::size_t sent = 0;  ///< of the answer
    };

    void accept(Instant time);
    [[nodiscard]] std::optional<ControlRequest> read(Client& client, Instant time);
    static void write(Client& client) noexcept;

    std::shared_ptr<cycle::Listener> door_;
    std::vector<Client> clients_;
    std::uint64_t last_number_ = 0;
    std::optional<Instant> closed_until_;  ///< accept has failed for lack of something
};

/// Asks the master whose control socket is at `path`, and waits for its answer. Blocks; for a
/// reload or a stop as long as that takes. Errors: those of connect(2); ECONNRESET when the master
/// ended without an answer; ETIMEDOUT when it does not take the order, or answer `status` or
/// `zones`, within `limits::control_timeout_ms`.
[[nodiscard]] Result<ControlAnswer> ask(std::string_view path, std::string_view order);

}  // namespace ringfort::master
