module;
#include <fcntl.h>
#include <sys/stat.h>
export module ringfort.uring:file;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :counted;
import :loop;
import :operation;
import :request;

export namespace ringfort::uring {

class File;

/// What a file is opened for; `append` writes at its end, wherever its position is.
enum class Access : std::uint8_t { read, write, read_write, append };

/// What opening does with a file that is missing, or that is there.
enum class Creation : std::uint8_t {
    never,       ///< ENOENT when it is missing
    if_missing,  ///< makes it when it is missing
    truncate,    ///< makes it, or empties it
    exclusive    ///< makes it; EEXIST when it is there
};

/// How a file is opened; always closed on exec.
struct OpenOptions {
    Access access = Access::read;
    Creation creation = Creation::never;
    std::uint32_t permissions = 0644;  ///< of a new file, before the umask
    RawFd directory = AT_FDCWD;        ///< where a relative path begins
};

/// What is known of a file (statx(2)).
struct FileStatus {
    Bytes size;
    std::uint32_t mode = 0;  ///< type and permissions, as S_ISREG and its like take it
    std::uint32_t links = 0;
    std::uint64_t inode = 0;
    std::chrono::system_clock::time_point modified = {};
};

/// What `File::sync` waits for: everything, or the bytes and what is needed to read them.
enum class SyncScope : std::uint8_t { all, data };

/// Awaits an open file. A cancelled one that was opened nevertheless is delivered.
class OpenOperation : public Operation {
public:
    OpenOperation(Loop& loop, const Request& request) noexcept
        : Operation{loop, request, {}}, owner_{loop} {}
    [[nodiscard]] Result<File> await_resume() const noexcept;

private:
    Loop& owner_;
};

/// Awaits that all the bytes have moved; yields how many have: fewer than asked for only when a
/// read has come to the end of the file.
class TransferOperation : public Operation {
public:
    TransferOperation(Loop& loop, const Request& request) noexcept
        : Operation{loop, request, {}}, asked_{request.length} {}
    [[nodiscard]] Result<std::size_t> await_resume() const noexcept {
        if (result() < 0) return error();
        return asked_ - left();
    }

private:
    std::size_t asked_;
};

/// Awaits what is known of a file.
class StatusOperation : public Operation {
public:
    /// `path` must live until completion; an empty one means `fd` itself.
    StatusOperation(Loop& loop, RawFd fd, const char* path) noexcept;
    [[nodiscard]] Result<FileStatus> await_resume() const noexcept;

private:
    struct statx answer_;
};

/// Awaits the closing of a descriptor it owns. It is closed in any case: a cancelled one at once,
/// in the destructor.
class CloseOperation : public Operation {
public:
    CloseOperation(Loop& loop, Fd fd) noexcept
        : Operation{loop, {.opcode = Opcode::close, .fd = fd.get()}, {}}, fd_{std::move(fd)} {}
    ~CloseOperation() {
        if (!cancelled()) (void)fd_.release();
    }
    [[nodiscard]] Result<void> await_resume() const noexcept {
        if (result() < 0 && !cancelled()) return error();
        return {};
    }

private:
    Fd fd_;
};

/// An open file on a loop: owns its descriptor. Moves, but not while a task awaits one of its
/// operations. Closes at the end of the turn in which it is destroyed; `close` tells how that went.
///
/// Every operation suspends and is cancellable, but the kernel does not give up what it does on a
/// disk: then cancelling waits for it, and what succeeded is delivered. `bytes` must live until
/// completion. An `offset` is in bytes from the beginning; without one the file's position is used
/// and moved on, as pipes and terminals demand. Errors: those of the system calls named.
/// Source: open(2), pread(2), pwrite(2), statx(2), fsync(2), close(2).
class File {
public:
    static constexpr std::uint64_t at_position = Request::at_position;

    /// Takes over an open descriptor in blocking mode.
    File(Loop& loop, Fd fd) noexcept : loop_{&loop}, fd_{std::move(fd)} {}
    File(File&& other) noexcept : loop_{other.loop_}, fd_{other.take_fd()} {}
    File& operator=(File&& other) noexcept {
        if (this != &other) {
            leave();
            loop_ = other.loop_;
            fd_ = other.take_fd();
        }
        return *this;
    }
    ~File() { leave(); }

    /// Opens the file at `path`, which must live until completion.
    [[nodiscard]] static OpenOperation open(Loop& loop, const std::string& path,
                                            const OpenOptions& options = {}) noexcept;
    /// Asks what is known of the file at `path`, links followed, without opening it. `path` must
    /// live until completion.
    [[nodiscard]] static StatusOperation status_of(Loop& loop, const std::string& path) noexcept {
        return {loop, AT_FDCWD, path.c_str()};
    }

    /// Reads what is there, at most `bytes.size()`; yields how many, 0 at the end of the file.
    [[nodiscard]] Counted<NumberOperation> read(std::span<std::byte> bytes,
                                                std::uint64_t offset = at_position) noexcept {
        return {operations_,
                [&] { return NumberOperation{*loop_, request(Opcode::read, bytes, offset), {}}; }};
    }
    /// Fills `bytes`.
    [[nodiscard]] Counted<TransferOperation> read_all(std::span<std::byte> bytes,
                                                      std::uint64_t offset = at_position) noexcept {
        return {operations_, [&] {
                    return TransferOperation{*loop_, request(Opcode::read_all, bytes, offset)};
                }};
    }
    /// Writes a part of `bytes` or all; yields how many.
    [[nodiscard]] Counted<NumberOperation> write(std::span<const std::byte> bytes,
                                                 std::uint64_t offset = at_position) noexcept {
        return {operations_,
                [&] { return NumberOperation{*loop_, request(Opcode::write, bytes, offset), {}}; }};
    }
    /// Writes all of `bytes`. After an error some may have been written.
    [[nodiscard]] Counted<TransferOperation> write_all(
        std::span<const std::byte> bytes, std::uint64_t offset = at_position) noexcept {
        return {operations_, [&] {
                    return TransferOperation{*loop_, request(Opcode::write_all, bytes, offset)};
                }};
    }
    /// Asks what is known of the file.
    [[nodiscard]] Counted<StatusOperation> status() noexcept {
        return {operations_, [&] { return StatusOperation{*loop_, fd_.get(), ""}; }};
    }
    /// Waits until what was written is on the disk.
    [[nodiscard]] Counted<VoidOperation> sync(SyncScope scope = SyncScope::all) noexcept;
    /// Closes; the file is empty afterwards. Errors: EIO, ENOSPC, EDQUOT of a file system that
    /// writes late; the descriptor is gone in any case.
    [[nodiscard]] CloseOperation close() noexcept { return {*loop_, take_fd()}; }

    /// Returns the descriptor; it stays owned by the file.
    [[nodiscard]] RawFd fd() const noexcept { return fd_.get(); }

private:
    [[nodiscard]] Request request(Opcode opcode, std::span<const std::byte> bytes,
                                  std::uint64_t offset) const noexcept {
        return {.opcode = opcode,
                .fd = fd_.get(),
                .address = bytes.data(),
                .length = bytes.size(),
                .offset = offset};
    }
    [[nodiscard]] Fd take_fd() noexcept {
        ensure(operations_ == 0, "a file was moved or closed while a task works with it");
        return std::move(fd_);
    }
    void leave() noexcept {
        if (Fd fd = take_fd()) loop_->close(std::move(fd));
    }

    Loop* loop_;
    Fd fd_;
    std::uint32_t operations_ = 0;  ///< that tasks await
};

}  // namespace ringfort::uring
