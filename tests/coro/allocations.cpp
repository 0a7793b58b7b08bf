#include "allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

import ringfort.base;

namespace {
std::atomic<std::size_t> count = 0;
}

namespace testing {
bool fail_large_allocations = false;

std::size_t allocations() noexcept {
    return count;
}
}  // namespace testing

extern "C" {
void* __real_malloc(std::size_t);
void* __real_calloc(std::size_t, std::size_t);
void* __real_realloc(void*, std::size_t);
void* __real_aligned_alloc(std::size_t, std::size_t);
int __real_posix_memalign(void**, std::size_t, std::size_t);
void* __wrap_malloc(std::size_t size) {
    ++count;
    if (testing::fail_large_allocations && size > ringfort::limits::max_pooled_frame_bytes)
        return nullptr;
    return __real_malloc(size);
}
void* __wrap_calloc(std::size_t number, std::size_t size) {
    ++count;
    return __real_calloc(number, size);
}
void* __wrap_realloc(void* memory, std::size_t size) {
    ++count;
    return __real_realloc(memory, size);
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
    ++count;
    return __real_aligned_alloc(alignment, size);
}
int __wrap_posix_memalign(void** out, std::size_t alignment, std::size_t size) {
    ++count;
    return __real_posix_memalign(out, alignment, size);
}
}

void* operator new(std::size_t size) {
    if (void* memory = std::malloc(size)) return memory;  // counted there
    throw std::bad_alloc{};
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return std::malloc(size);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
