export module ringfort.shm:mapping;

import ringfort.base;
import ringfort.std;

export namespace ringfort::shm {

/// Owns a memfd and its shared mapping; unmaps and closes. Moves, never copies; a move does not
/// change where the bytes are mapped.
class Mapping {
public:
    /// Makes a memfd of `size` zero bytes that nobody can resize, and maps it: with huge pages, if
    /// it is large enough and the system allows them for shared memory where they are asked for
    /// (/sys/kernel/mm/transparent_hugepage/shmem_enabled is `advise`). `name` is what
    /// /proc/PID/maps shows. Pages are taken on first touch: memory that runs out later is the
    /// kernel's out-of-memory condition. Errors: EINVAL for a size of 0 or a name over 249 bytes or
    /// with a NUL; EFBIG past `limits::max_zone_size`; EMFILE, ENFILE, ENOMEM.
    [[nodiscard]] static Result<Mapping> create(std::string_view name, Bytes size);

    /// Maps a memfd made by `create`, here or in another process. Takes `memfd`, which is closed on
    /// error. Errors: EINVAL for anything but a memfd, EPERM for one that is not sealed against
    /// shrinking, growing and further seals, EFBIG, EMFILE, ENOMEM, others of mmap(2).
    [[nodiscard]] static Result<Mapping> attach(Fd memfd);

    Mapping(Mapping&& other) noexcept
        : memfd_{std::move(other.memfd_)},
          bytes_{std::exchange(other.bytes_, {})},
          reserved_{std::exchange(other.reserved_, {})} {}
    Mapping& operator=(Mapping&& other) noexcept;
    ~Mapping() { unmap(); }

    /// Returns the mapped bytes: exactly the size asked for, page aligned. In front of them and
    /// behind them there is a page or more that nobody may touch: SIGSEGV.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
    /// Returns the memfd, to duplicate and pass on.
    [[nodiscard]] RawFd fd() const noexcept { return memfd_.get(); }

private:
    Mapping(Fd memfd, std::span<std::byte> bytes, std::span<std::byte> reserved) noexcept
        : memfd_{std::move(memfd)}, bytes_{bytes}, reserved_{reserved} {}
    static Result<Mapping> map(Fd memfd, Bytes size);
    void unmap() noexcept;

    Fd memfd_;
    std::span<std::byte> bytes_;
    std::span<std::byte> reserved_;  ///< with the guards around
};

}  // namespace ringfort::shm
