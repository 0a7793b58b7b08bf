module;
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
export module ringfort.coro:frames;

import ringfort.base;
import ringfort.std;

/// The memory of coroutine frames. A frame is asked for and given back at every call of a task, so
/// both are inline: the size is a constant there, and what is left is a pop and a push.
namespace ringfort::coro {

inline constexpr std::size_t frame_step = 64;  ///< a cache line, which frames begin at
inline constexpr std::size_t frame_classes = limits::max_pooled_frame_bytes / frame_step + 1;

struct FreeFrame {
    FreeFrame* next;
};

/// The frames of one thread that are free, by size in steps. Neither constructed nor destroyed at
/// run time: an access is one load, without the call that guards other thread-local objects.
struct FreeFrames {
    FreeFrame* first[frame_classes];
};
extern constinit thread_local FreeFrames free_frames;

/// Fills an empty list and returns a frame; nullptr when there is no memory.
void* refill_frames(std::size_t steps) noexcept;

/// Lets only the address sanitizer know which frames are free: a use of one is reported.
inline void poison_frame([[maybe_unused]] void* frame, [[maybe_unused]] std::size_t size) noexcept {
#if __has_feature(address_sanitizer)
    __asan_poison_memory_region(frame, size);
#endif
}
inline void unpoison_frame([[maybe_unused]] void* frame,
                           [[maybe_unused]] std::size_t size) noexcept {
#if __has_feature(address_sanitizer)
    __asan_unpoison_memory_region(frame, size);
#endif
}

}  // namespace ringfort::coro

export namespace ringfort::coro {

/// Returns memory for a frame of `size` bytes, or nullptr: from the calling thread's free ones up
/// to `limits::max_pooled_frame_bytes`, else from malloc(3). Without a lock; malloc is asked for
/// a slab of frames only when more of a size are in use than ever before.
[[nodiscard]] inline void* allocate_frame(std::size_t size) noexcept {
    if (size > limits::max_pooled_frame_bytes) [[unlikely]]
        return std::malloc(size);
    const std::size_t steps = (size + frame_step - 1) / frame_step;
    FreeFrame*& first = free_frames.first[steps];
    FreeFrame* frame = first;
    if (frame == nullptr) [[unlikely]]
        return refill_frames(steps);
    unpoison_frame(frame, steps * frame_step);
    first = frame->next;
    return frame;
}

/// Takes back what `allocate_frame` returned for this size. It is kept for the next frame, for as
/// long as the process lives: what is kept is the most that was ever in use, which the limit of
/// connections bounds.
inline void release_frame(void* memory, std::size_t size) noexcept {
    if (size > limits::max_pooled_frame_bytes) [[unlikely]]
        return std::free(memory);
    const std::size_t steps = (size + frame_step - 1) / frame_step;
    auto* frame = static_cast<FreeFrame*>(memory);
    frame->next = free_frames.first[steps];
    free_frames.first[steps] = frame;
    poison_frame(frame, steps * frame_step);
}

/// Returns how many bytes this thread has taken from malloc(3) for pooled frames.
[[nodiscard]] std::size_t pooled_frame_bytes() noexcept;

}  // namespace ringfort::coro
