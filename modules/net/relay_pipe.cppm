export module ringfort.net:relay_pipe;

import ringfort.base;
import ringfort.std;

export namespace ringfort::net {

class PipePool;

/// A pipe that bytes are moved through from one socket to another by splice(2), never blocking.
/// Counts what is in it. Goes back to its pool when it ends, or is closed when it is not empty: the
/// bytes of one connection never meet another.
class Pipe {
public:
    Pipe(Pipe&& other) noexcept
        : pool_{std::exchange(other.pool_, nullptr)},
          read_{std::move(other.read_)},
          write_{std::move(other.write_)},
          size_{std::exchange(other.size_, 0)} {}
    Pipe& operator=(Pipe&&) = delete;
    ~Pipe();

    /// Moves what `socket`, in non-blocking mode, has received into the pipe, as much as fits;
    /// returns how much, 0 when the peer has closed its half. Errors: EAGAIN when nothing is there;
    /// EINVAL when the socket cannot be spliced; those of recv(2).
    [[nodiscard]] Result<std::size_t> fill(RawFd socket) noexcept;
    /// Moves what is in the pipe to `socket`, in non-blocking mode, as much as it takes; returns
    /// how much. Errors: EAGAIN when it takes nothing; those of send(2).
    [[nodiscard]] Result<std::size_t> drain(RawFd socket) noexcept;
    /// Counts the bytes in the pipe.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    friend class PipePool;
    Pipe(PipePool& pool, Fd read, Fd write) noexcept
        : pool_{&pool}, read_{std::move(read)}, write_{std::move(write)} {}

    PipePool* pool_;
    Fd read_;
    Fd write_;
    std::size_t size_ = 0;
};

/// The pipes of one thread. Lends at most `limit` at a time, and keeps those that come back, up to
/// `limits::relay_idle_pipes`, for the next.
class PipePool {
public:
    explicit PipePool(std::uint32_t limit = limits::relay_pipes) noexcept : limit_{limit} {}
    PipePool(PipePool&&) = delete;
    ~PipePool();
    /// Returns the pool of the calling thread, which its relays share.
    [[nodiscard]] static PipePool& of_this_thread() noexcept;

    /// Lends an empty pipe of `limits::relay_pipe_size`. Errors: EAGAIN when the limit is reached;
    /// EMFILE, ENFILE; EPERM when the user's pipes hold fs.pipe-user-pages-soft already. Makes the
    /// process ignore SIGPIPE if it would be ended by it: splice(2) raises it.
    [[nodiscard]] Result<Pipe> take() noexcept;
    /// Changes how many are lent at a time; what is lent stays.
    void set_limit(std::uint32_t limit) noexcept { limit_ = limit; }
    /// Count the pipes that are lent, and those that wait to be.
    [[nodiscard]] std::uint32_t lent() const noexcept { return lent_; }
    [[nodiscard]] std::size_t idle() const noexcept { return idle_.size(); }
    /// Counts how often a pipe was lent since the thread began.
    [[nodiscard]] std::uint64_t taken() const noexcept { return taken_; }
    /// Counts the bytes that were filled into pipes since the thread began.
    [[nodiscard]] std::uint64_t filled() const noexcept { return filled_; }
    /// Closes those that wait.
    void clear() noexcept { idle_.clear(); }

private:
    friend class Pipe;
    struct Ends {
        Fd read;
        Fd write;
    };
    [[nodiscard]] Pipe lend(Fd read, Fd write) noexcept;
    void give_back(Pipe& pipe) noexcept;

    std::uint32_t limit_;
    std::uint32_t lent_ = 0;
    std::uint64_t taken_ = 0;
    std::uint64_t filled_ = 0;
    std::vector<Ends> idle_;
};

}  // namespace ringfort::net
