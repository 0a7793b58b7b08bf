export module ringfort.master:builder;

import ringfort.base;
import ringfort.channel;
import ringfort.process;
import ringfort.std;
import :estate;

export namespace ringfort::master {

/// A child that does for the master what may block: it reads a configuration, asks name services,
/// binds and opens, sends what it has, and ends. The master polls its channel and its pidfd.
/// Destroying a builder ends the child, and waits for that; what it had opened goes with it, files
/// that it has made included.
class Builder {
public:
    /// What the child does: it sends by `send`, which waits for room, and says whether the build is
    /// good.
    using Work = std::function<bool(const Send& send)>;

    /// Starts the child. `client` asked for it, 0: nobody at the control socket; `due` is when it
    /// has had its time; `keep` are descriptors that it needs. Errors: those of `Channel::pair` and
    /// `process::spawn`.
    [[nodiscard]] static Result<Builder> start(std::string_view title, std::uint64_t client,
                                               Instant due, std::vector<RawFd> keep,
                                               const Work& work);
    Builder(Builder&& other) noexcept;
    Builder& operator=(Builder&&) = delete;
    ~Builder();

    /// What to poll for readability: what it sends, -1 when no more comes; and its end.
    [[nodiscard]] RawFd channel_fd() const noexcept { return open_ ? channel_.fd() : -1; }
    [[nodiscard]] RawFd pidfd() const noexcept { return child_.pidfd.get(); }
    /// Returns who asked for it, as given to `start`.
    [[nodiscard]] std::uint64_t client() const noexcept { return client_; }
    /// Returns when it has had its time, as given to `start`; nothing once it is aborted.
    [[nodiscard]] std::optional<Instant> due() const noexcept {
        return failure_.empty() ? std::optional{due_} : std::nullopt;
    }

    /// Takes what it has sent, up to `limits::messages_per_turn` messages; tells whether there may
    /// be more.
    bool receive();
    /// Ends the child; `why` is what is told of the build.
    void abort(std::string why);
    /// Gives away what has been built, when the child has ended; nothing while it lives. What was
    /// sent is taken first. An estate that is not good has a finding that says why.
    [[nodiscard]] std::optional<Estate> finish();

private:
    Builder(process::Child child, channel::Channel channel, std::uint64_t client, Instant due)
        : child_{std::move(child)}, channel_{std::move(channel)}, client_{client}, due_{due} {}

    process::Child child_;
    channel::Channel channel_;
    std::uint64_t client_;
    Instant due_;
    EstateReader reader_;
    bool open_ = true;  ///< more may come
    std::string failure_;
};

}  // namespace ringfort::master
