export module ringfort.base:fd;

import ringfort.std;
import :error;
import :result;

export namespace ringfort {

/// A descriptor somebody else owns, valid for the duration of the call it is passed to.
using RawFd = int;

/// Owns a file descriptor and closes it. Moves, never copies.
class Fd {
public:
    Fd() noexcept = default;
    /// Takes ownership of `fd`; a negative one means none.
    inline explicit Fd(RawFd fd) noexcept : fd_{fd} {}
    inline Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    inline Fd& operator=(Fd&& other) noexcept {
        if (this != &other) {
            close();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    inline ~Fd() { close(); }

    /// Lends the descriptor; -1 if there is none.
    [[nodiscard]] inline RawFd get() const noexcept { return fd_; }
    inline explicit operator bool() const noexcept { return fd_ >= 0; }
    /// Gives the descriptor away: the caller closes it.
    [[nodiscard]] inline RawFd release() noexcept { return std::exchange(fd_, -1); }
    /// Closes now; a second call does nothing. Errors of close(2) are not reported: the descriptor
    /// is gone either way on Linux.
    void close() noexcept;
    /// Duplicates with close-on-exec. Errors: EMFILE.
    [[nodiscard]] Result<Fd> duplicate() const;

private:
    RawFd fd_ = -1;
};

/// Duplicates a borrowed descriptor with close-on-exec. Errors: EMFILE, EBADF.
[[nodiscard]] Result<Fd> duplicate(RawFd fd);

}  // namespace ringfort
