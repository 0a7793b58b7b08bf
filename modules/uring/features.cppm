export module ringfort.uring:features;

import ringfort.std;

export namespace ringfort::uring {

/// How the kernel delivers completions, best first.
enum class RingMode : std::uint8_t {
    deferred_no_array,  ///< 6.6: as below, and no indirection array of submissions
    deferred,           ///< 6.1: work is done when the loop asks for it, never in between
    cooperative,        ///< 5.19: work waits for the next system call
};

/// What a ring can do beyond what every supported kernel does, of what is used. A new kernel has
/// all of it.
struct Features {
    RingMode mode = RingMode::deferred_no_array;
    bool bounded_receives = true;  ///< 6.17: a multishot receive ends after so many bytes
    bool minimum_waits = true;     ///< 6.12: a wait can be for several, for some time, then for one
    bool instant_accepts = true;   ///< 6.10: an accept need not wait for a connection
    bool incremental_buffers = true;  ///< 6.12: several receives share a buffer
    bool futex = true;                ///< 6.7: waits for a word of shared memory
    bool zero_copy = true;            ///< 6.0: sends bytes from where they are
    bool registered_ring = true;      ///< 5.18: calls need not look the ring's descriptor up
};

/// Says of each feature that is missing what follows from it, for the log; empty when none is.
[[nodiscard]] std::vector<std::string_view> consequences(const Features& features);

/// Returns what the kernel of a version has.
[[nodiscard]] Features features_of(int major, int minor) noexcept;

/// Returns what both have.
[[nodiscard]] Features common(const Features& one, const Features& other) noexcept;

/// Returns what the kernel has whose version, as 6.1, is in the environment variable
/// RINGFORT_KERNEL; everything if there is none, or if it is something else. It has tests, and
/// whoever wants to try, do without what a newer kernel has.
[[nodiscard]] Features features_of_environment() noexcept;

}  // namespace ringfort::uring
