export module ringfort.shm:zone;

import ringfort.base;
import ringfort.std;
import :mapping;

export namespace ringfort::shm {

/// The version of what a zone's first bytes mean. Two builds share zones during a binary upgrade.
inline constexpr std::uint32_t zone_layout_version = 1;

/// What a zone's payload is aligned to, in every process: two cache lines, since processors fetch
/// them in pairs.
inline constexpr std::size_t zone_alignment = 128;

/// Owns a named piece of shared memory: a mapping that begins with a header {magic, layout version,
/// size, name, tag}. The tag says what kind of content the payload has ("counters/1"): name, size
/// and tag together decide whether a reload keeps the zone. Moves, never copies.
class Zone {
public:
    /// What the header takes of a zone's size.
    static constexpr std::size_t header_bytes = 256;

    /// Makes a zone with a zeroed payload. Errors: EINVAL for a name that is empty, over
    /// `limits::max_zone_name_bytes` or with a NUL, or a tag over `limits::max_zone_tag_bytes` or
    /// with a NUL, or a size under `limits::min_zone_size`; those of `Mapping::create`.
    [[nodiscard]] static Result<Zone> create(std::string_view name, std::string_view tag,
                                             Bytes size);

    /// Maps a zone made elsewhere and validates every byte of its header. Takes `memfd`, which is
    /// closed on error. Errors: EBADMSG for a corrupted header, EPROTO for another layout version,
    /// EINVAL for a zone with another name or tag or under `limits::min_zone_size`; those of
    /// `Mapping::attach`.
    [[nodiscard]] static Result<Zone> attach(Fd memfd, std::string_view name, std::string_view tag);

    /// As above, whatever its name and tag.
    [[nodiscard]] static Result<Zone> attach(Fd memfd);

    /// Copies a zone out of a file: one that it was saved to, or /proc/PID/fd/N of a process that
    /// has it. Errors: those of open(2) and read(2); EINVAL for a file that is no zone's size;
    /// those of `attach`.
    [[nodiscard]] static Result<Zone> copy_of(const std::string& path);

    /// These are this process's copies: no other process can change them.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& tag() const noexcept { return tag_; }
    /// Returns the whole size, header included: what `create` was asked for.
    [[nodiscard]] Bytes size() const noexcept { return {mapping_.bytes().size()}; }
    /// Returns the memfd, to duplicate and pass on.
    [[nodiscard]] RawFd fd() const noexcept { return mapping_.fd(); }
    /// Tells whether an error of `attach` says that somebody has written over the zone, or that it
    /// is another version's: who can do without it, or make it anew, need not give up.
    [[nodiscard]] static bool is_of_content(const Error& error) noexcept;
    /// Reports whether the header is still what `create` wrote: who has not got the zone yet could
    /// attach to it.
    [[nodiscard]] bool sound() const noexcept;
    /// Returns what follows the header, aligned to `zone_alignment`; other processes read and write
    /// it at any time. Valid as long as the zone lives, across moves of it.
    [[nodiscard]] std::span<std::byte> payload() const noexcept;

private:
    Zone(Mapping mapping, std::string_view name, std::string_view tag)
        : mapping_{std::move(mapping)}, name_{name}, tag_{tag} {}

    Mapping mapping_;
    std::string name_;
    std::string tag_;
};

}  // namespace ringfort::shm

namespace ringfort::shm {

// What a header notes of itself: FNV-1a, 64 bits, of its bytes with 0 where this is noted.
std::uint64_t checksum_of(std::span<const std::byte> header) noexcept;

}  // namespace ringfort::shm
