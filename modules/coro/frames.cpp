module;
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <utility>
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#endif
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

constinit thread_local FreeFrames free_frames{};

namespace {

constinit thread_local std::size_t pooled_bytes = 0;

/// What threads that have ended left behind, for those that still run.
struct Depot {
    std::mutex mutex;
    FreeFrames frames{};
};
constinit Depot depot;

/// Hands the thread's free frames on when it ends. Constructed by the first slab, because its
/// destructor makes every access a call.
struct Legacy {
    ~Legacy() {
        const std::lock_guard lock{depot.mutex};
        for (std::size_t steps = 1; steps < frame_classes; ++steps)
            while (FreeFrame* frame = free_frames.first[steps]) {
                unpoison_frame(frame, sizeof *frame);
                free_frames.first[steps] = frame->next;
                frame->next = std::exchange(depot.frames.first[steps], frame);
            }
    }
    void begin() const noexcept {}
};
thread_local Legacy legacy;

/// Asks malloc for a slab. The leak check cannot see through frames that are poisoned.
void* allocate_slab(std::size_t size) noexcept {
    void* slab = std::aligned_alloc(frame_step, size);
    if (slab == nullptr) return nullptr;
    pooled_bytes += size;
#if __has_feature(address_sanitizer)
    __lsan_ignore_object(slab);
#endif
    return slab;
}

/// Cuts a slab into frames, lowest address first.
FreeFrame* cut(char* slab, std::size_t size, std::size_t count) noexcept {
    FreeFrame* next = nullptr;
    for (std::size_t i = count; i-- > 0;) {
        auto* frame = reinterpret_cast<FreeFrame*>(slab + i * size);
        frame->next = next;
        next = frame;
    }
    return next;
}

}  // namespace

void* refill_frames(std::size_t steps) noexcept {
    legacy.begin();
    const std::size_t size = steps * frame_step;
    FreeFrame* frames = nullptr;
    {
        const std::lock_guard lock{depot.mutex};
        frames = std::exchange(depot.frames.first[steps], nullptr);
    }
    if (frames == nullptr) {
        const std::size_t count = std::max<std::size_t>(limits::frame_slab_bytes / size, 1);
        void* slab = allocate_slab(count * size);
        if (slab == nullptr) return nullptr;
        frames = cut(static_cast<char*>(slab), size, count);
    }
    free_frames.first[steps] = frames->next;
    for (FreeFrame* free = frames->next; free != nullptr;) {
        FreeFrame* next = free->next;
        poison_frame(free, size);
        free = next;
    }
    unpoison_frame(frames, size);  // what an ended thread has left is poisoned behind its link
    return frames;
}

std::size_t pooled_frame_bytes() noexcept {
    return pooled_bytes;
}

}  // namespace ringfort::coro
