export module ringfort.master:estate;

import ringfort.base;
import ringfort.channel;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;
import ringfort.std;

export namespace ringfort::master {

/// A file that is open already, and the name it was opened by.
struct OpenFile {
    std::string path;
    Fd file;
};

/// What one process passes to a master so that it can go on with it: a builder, what it has opened
/// for the next cycle; a predecessor, what it serves with.
struct Estate {
    std::string configuration;          ///< the text that was read
    std::vector<std::string> findings;  ///< obstacles, or what would change
    std::optional<process::Credentials> credentials;
    cycle::Stock stock;  ///< its listeners are not this process's own yet
    std::optional<OpenFile> pid_file;
    std::shared_ptr<cycle::Listener> control;
    std::uint32_t last_generation = 0;
    bool rows_from_top = false;
    std::vector<std::uint32_t> taken_rows;
    bool complete = false;  ///< all has been said
    bool success = false;   ///< and it is good

    /// Makes this process the owner of the files that a builder has made: whatever comes of the
    /// build, nobody else removes them. Returns the pid file.
    [[nodiscard]] std::optional<process::PidFile> take_files();
};

/// Sends one message, or queues it.
using Send = std::function<Result<void>(const channel::Message&, channel::Fds)>;

/// Returns what sends through `channel`, which outlives it, or queues there.
[[nodiscard]] Send through(channel::Channel& channel);

/// Offer a part of an estate. Descriptors are duplicated. Errors: those of `Send` and of dup(2).
[[nodiscard]] Result<void> offer_text(channel::TextUse use, std::string_view text,
                                      const Send& send);
[[nodiscard]] Result<void> offer(const cycle::Listener& listener, bool control, const Send& send);
[[nodiscard]] Result<void> offer(const shm::Zone& zone, const Send& send);
[[nodiscard]] Result<void> offer(const process::PidFile& file, const Send& send);
[[nodiscard]] Result<void> offer(const process::Credentials& credentials, const Send& send);

/// Puts an estate together from the messages it comes in.
class EstateReader {
public:
    /// Takes the next one. Errors: EPROTO for a message that is none of an estate's, or comes after
    /// the end; those of adopting what is in it. What was taken before stays.
    [[nodiscard]] Result<void> take(channel::Received received);
    /// Gives away what there is by now.
    [[nodiscard]] Estate release() &&;
    [[nodiscard]] const Estate& estate() const noexcept { return estate_; }

private:
    Result<void> on(channel::OfferListener& message, channel::Fds& fds);
    Result<void> on(channel::AddZone& message, channel::Fds& fds);
    Result<void> on(channel::OfferFile& message, channel::Fds& fds);
    Result<void> on(channel::Text& message, channel::Fds& fds);
    Result<void> on(channel::User& message, channel::Fds& fds);
    Result<void> on(channel::Succession& message, channel::Fds& fds);
    Result<void> on(channel::TakenRow& message, channel::Fds& fds);
    Result<void> on(channel::FileOwner& message, channel::Fds& fds);
    Result<void> on(channel::Done& message, channel::Fds& fds);
    template <class Other>
    Result<void> on(Other&, channel::Fds&);

    Estate estate_;
    std::string finding_;                ///< begun
    std::optional<channel::User> user_;  ///< its groups so far
};

}  // namespace ringfort::master
