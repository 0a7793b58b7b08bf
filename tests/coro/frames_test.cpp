#include <catch2/catch_test_macros.hpp>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif

import ringfort.base;
import ringfort.coro;

#include "drive.h"

using namespace ringfort;
using coro::Task;

TEST_CASE("a frame that was given back is the next one of its size") {
    void* first = coro::allocate_frame(100);
    void* second = coro::allocate_frame(120);
    CHECK(first != second);
    coro::release_frame(first, 100);
    void* again = coro::allocate_frame(128);
    CHECK(again == first);
    coro::release_frame(again, 128);
    coro::release_frame(second, 120);
}

TEST_CASE("frames of every size are apart, aligned and writable") {
    struct Frame {
        void* memory;
        std::size_t size;
    };
    std::vector<Frame> frames;
    for (std::size_t size = 1; size <= limits::max_pooled_frame_bytes + 200; size += 37) {
        frames.push_back({coro::allocate_frame(size), size});
        REQUIRE(frames.back().memory != nullptr);
        std::memset(frames.back().memory, static_cast<int>(size % 251), size);
    }
    for (const auto& [memory, size] : frames) {
        const auto* bytes = static_cast<const unsigned char*>(memory);
        CHECK(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t) == 0);
        CHECK((bytes[0] == size % 251 && bytes[size - 1] == size % 251));
    }
    for (const auto& [memory, size] : frames) coro::release_frame(memory, size);
}

TEST_CASE("tasks take their frames from the list, and a peak is kept and used again") {
    const auto many = [](std::vector<Task<int>>& out) {
        auto body = [](int value) -> Task<int> { co_return value; };
        for (int i = 0; i < 1'000; ++i) out.push_back(body(i));
    };
    std::vector<Task<int>> tasks;
    many(tasks);
    const std::size_t peak = coro::pooled_frame_bytes();
    CHECK(peak >= 1'000 * 64);
    for (int round = 0; round < 10; ++round) {
        tasks.clear();
        many(tasks);
    }
    CHECK(coro::pooled_frame_bytes() == peak);
}

TEST_CASE("a frame larger than the limit is not kept") {
    const std::size_t before = coro::pooled_frame_bytes();
    void* large = coro::allocate_frame(limits::max_pooled_frame_bytes + 1);
    REQUIRE(large != nullptr);
    CHECK(coro::pooled_frame_bytes() == before);
    coro::release_frame(large, limits::max_pooled_frame_bytes + 1);
}

TEST_CASE("what an ended thread leaves behind serves the next one") {
    constexpr std::size_t size = 1'999;
    std::set<void*> first;
    std::size_t taken = 1;
    std::thread{[&] {
        for (int i = 0; i < 20; ++i) first.insert(coro::allocate_frame(size));
        for (void* frame : first) coro::release_frame(frame, size);
    }}.join();
    std::thread{[&] {
        std::set<void*> second;
        for (int i = 0; i < 20; ++i) {
            void* const frame = coro::allocate_frame(size);
            std::memset(frame, i, size);  // all of it is the new owner's, the sanitizer agrees
            second.insert(frame);
        }
        for (void* frame : second) coro::release_frame(frame, size);
        taken = coro::pooled_frame_bytes();
    }}.join();
    CHECK(first.size() == 20);
    CHECK(taken == 0);
}

#if __has_feature(address_sanitizer)
TEST_CASE("a freed frame is poisoned") {
    void* frame = coro::allocate_frame(200);
    CHECK(__asan_address_is_poisoned(frame) == 0);
    coro::release_frame(frame, 200);
    CHECK(__asan_address_is_poisoned(frame) == 1);
    CHECK(__asan_address_is_poisoned(static_cast<char*>(frame) + 150) == 1);
}
#endif
