/// A scenario played by the same code on the kernel's io_uring and on a SoftRing, and what the
/// program saw of either. Include after the imports.
#pragma once
#include <fmt/format.h>
#include <liburing.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace testing {

/// What a program does with a ring: the two differ in their setup and in `enter` alone.
class Backend {
public:
    Backend() = default;
    Backend(Backend&&) = delete;
    virtual ~Backend() = default;
    virtual int enter(unsigned wait_for, const __kernel_timespec& limit) = 0;
    virtual int register_buffers(std::uint16_t group, io_uring_buf_ring& ring, unsigned entries,
                                 ringfort::uring::BufferUse use) = 0;
    virtual int unregister(std::uint16_t group) = 0;
    io_uring ring{};
};

class KernelBackend final : public Backend {
public:
    KernelBackend(unsigned submissions, unsigned completions) {
        io_uring_params params{};
        params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
        params.cq_entries = completions;
        error = io_uring_queue_init_params(submissions, &ring, &params);
    }
    ~KernelBackend() override {
        if (error == 0) io_uring_queue_exit(&ring);
    }
    int enter(unsigned wait_for, const __kernel_timespec& limit) override {
        if (wait_for == 0) return std::min(io_uring_submit_and_get_events(&ring), 0);
        io_uring_cqe* first = nullptr;
        auto copy = limit;
        const int done = io_uring_submit_and_wait_timeout(&ring, &first, wait_for, &copy, nullptr);
        // liburing tells the number of submissions, where there were any, rather than the time.
        return done >= 0 && io_uring_cq_ready(&ring) < wait_for ? -ETIME : std::min(done, 0);
    }
    int register_buffers(std::uint16_t group, io_uring_buf_ring& buffers, unsigned entries,
                         ringfort::uring::BufferUse use) override {
        io_uring_buf_reg request{};
        request.ring_addr = reinterpret_cast<std::uintptr_t>(&buffers);
        request.ring_entries = entries;
        request.bgid = group;
        return io_uring_register_buf_ring(
            &ring, &request,
            use == ringfort::uring::BufferUse::incremental ? unsigned{IOU_PBUF_RING_INC} : 0);
    }
    int unregister(std::uint16_t group) override {
        return io_uring_unregister_buf_ring(&ring, group);
    }
    int error = 0;
};

class SoftBackend final : public Backend {
public:
    SoftBackend(unsigned submissions, unsigned completions)
        : soft{ringfort::uring::SoftRing::open(submissions, completions).value()} {
        soft->attach(ring);
    }
    int enter(unsigned wait_for, const __kernel_timespec& limit) override {
        return soft->enter(wait_for, &limit);
    }
    int register_buffers(std::uint16_t group, io_uring_buf_ring& buffers, unsigned entries,
                         ringfort::uring::BufferUse use) override {
        return soft->register_buffers(group, buffers, entries, use);
    }
    int unregister(std::uint16_t group) override { return soft->unregister_buffers(group); }
    std::unique_ptr<ringfort::uring::SoftRing> soft;
};

struct Completion {
    std::uint64_t user_data;
    int result;
    unsigned flags;
    unsigned order = 0;  ///< in which it came
    [[nodiscard]] unsigned buffer() const { return flags >> IORING_CQE_BUFFER_SHIFT; }
    [[nodiscard]] bool more() const { return (flags & IORING_CQE_F_MORE) != 0; }
};

/// Buffers provided to a ring: buffer i has id 100 + i.
class Buffers {
public:
    Buffers(Backend& backend, std::uint16_t group, unsigned entries, std::size_t size,
            ringfort::uring::BufferUse use = ringfort::uring::BufferUse::whole)
        : entries_{entries}, size_{size}, memory_(entries * size) {
        bytes_ = entries * sizeof(io_uring_buf);
        void* mapped =
            ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(mapped != MAP_FAILED);
        ring_ = static_cast<io_uring_buf_ring*>(mapped);
        REQUIRE(backend.register_buffers(group, *ring_, entries, use) == 0);
    }
    Buffers(Buffers&&) = delete;
    ~Buffers() { ::munmap(ring_, bytes_); }

    /// Provides buffer `i`, or its first `length` bytes.
    void add(unsigned i, std::size_t length = 0) {
        const unsigned short tail = ring_->tail;
        auto& entry = reinterpret_cast<io_uring_buf*>(ring_)[tail & (entries_ - 1)];
        entry.addr = reinterpret_cast<std::uintptr_t>(memory_.data() + i * size_);
        entry.len = static_cast<unsigned>(length == 0 ? size_ : length);
        entry.bid = static_cast<unsigned short>(100 + i);
        io_uring_buf_ring_advance(ring_, 1);
        order_.push_back(100 + i);
    }
    /// Takes `length` bytes out of the buffers from `first` on, as they stand in the ring, and
    /// provides these again.
    void take(unsigned first, std::size_t length, std::string& out) {
        auto at_first = std::find(order_.begin(), order_.end(), first);
        while (length > 0) {
            REQUIRE(at_first != order_.end());
            const unsigned id = *at_first;
            const std::size_t part = std::min(length, size_);
            out.append(at(id), part);
            length -= part;
            const auto index = at_first - order_.begin();
            order_.erase(at_first);
            add(id - 100);
            at_first = order_.begin() + index;
        }
    }
    void add_all() {
        for (unsigned i = 0; i < entries_; ++i) add(i);
    }
    [[nodiscard]] char* at(unsigned id) { return memory_.data() + (id - 100) * size_; }
    [[nodiscard]] std::string_view text(const Completion& completion) {
        return {at(completion.buffer()), static_cast<std::size_t>(std::max(completion.result, 0))};
    }
    /// Says what is left of the entry at this position: where from, and how much.
    [[nodiscard]] std::string left(unsigned position) const {
        const auto& entry = reinterpret_cast<const io_uring_buf*>(ring_)[position];
        const auto base = reinterpret_cast<std::uintptr_t>(memory_.data());
        return fmt::format("entry {} offset {} length {}", position, entry.addr - base, entry.len);
    }

private:
    unsigned entries_;
    std::size_t size_;
    std::vector<char> memory_;
    std::vector<unsigned> order_;  ///< of the buffers not taken out yet
    std::size_t bytes_ = 0;
    io_uring_buf_ring* ring_ = nullptr;
};

/// A ring, and the transcript of what came out of it.
class Bench {
public:
    explicit Bench(Backend& chosen) : backend{chosen} {}

    /// Gives a submission of `prepare`, a function of liburing's io_uring_prep_*, to fill.
    template <class... Args, class... Given>
    io_uring_sqe& submit(std::uint64_t user_data, void (*prepare)(io_uring_sqe*, Args...),
                         Given... given) {
        io_uring_sqe* sqe = io_uring_get_sqe(&backend.ring);
        REQUIRE(sqe != nullptr);
        prepare(sqe, static_cast<Args>(given)...);
        sqe->user_data = user_data;
        return *sqe;
    }
    /// Enters once, and takes what completed.
    int turn(unsigned wait_for = 0, std::int64_t milliseconds = 0) {
        const __kernel_timespec limit{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
        // What an io_uring that was closed before left behind interrupts its thread at times.
        int result = -EINTR;
        for (int i = 0; i < 100 && result == -EINTR; ++i) result = backend.enter(wait_for, limit);
        unsigned head = 0;
        unsigned count = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(&backend.ring, head, cqe) {
            taken.push_back(
                {cqe->user_data, cqe->res, cqe->flags & ~IORING_CQE_F_SOCK_NONEMPTY, seen++});
            ++count;
        }
        io_uring_cq_advance(&backend.ring, count);
        return result;
    }
    /// Enters until `count` completions are there, and gives them out, by user data.
    std::vector<Completion> await(std::size_t count) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds{5};
        while (taken.size() < count && std::chrono::steady_clock::now() < deadline)
            (void)turn(static_cast<unsigned>(count - taken.size()), 200);
        CHECK(taken.size() >= count);
        (void)turn();  // one too many would be seen
        std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
            return std::pair{a.user_data, a.order} < std::pair{b.user_data, b.order};
        });
        return std::exchange(taken, {});
    }
    /// The same, written into the transcript.
    std::vector<Completion> expect(std::size_t count) {
        auto found = await(count);
        for (const auto& one : found) note("{}: {} {:#x}", one.user_data, one.result, one.flags);
        return found;
    }
    /// The same with completions that carry new descriptors, whose numbers do not count.
    std::vector<ringfort::Fd> expect_fds(std::size_t count) {
        std::vector<ringfort::Fd> fds;
        for (const auto& one : await(count)) {
            note("{}: {} {:#x}", one.user_data, std::min(one.result, 0), one.flags);
            if (one.result >= 0) fds.emplace_back(one.result);
        }
        return fds;
    }
    /// Writes down that nothing completes for a while.
    void expect_nothing() {
        (void)turn(1, 15);
        for (const auto& one : taken)
            note("early {}: {} {:#x}", one.user_data, one.result, one.flags);
        taken.clear();
    }
    template <class... Args>
    void note(fmt::format_string<Args...> format, Args&&... args) {
        transcript += fmt::format(format, std::forward<Args>(args)...);
        transcript += '\n';
    }

    Backend& backend;
    std::vector<Completion> taken;
    std::string transcript;
    unsigned seen = 0;
};

/// Has a submission take its buffer from a group.
inline void pick_buffer(io_uring_sqe& sqe, std::uint16_t group) {
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = group;
}

struct QueueSizes {
    unsigned submissions = 64;
    unsigned completions = 256;
};

/// Plays the scenario on both, and compares. Skips when there is no io_uring to compare with, after
/// the soft ring's half.
inline void compare(const std::function<void(Bench&)>& scenario, QueueSizes sizes = {}) {
    std::string soft;
    {
        SoftBackend backend{sizes.submissions, sizes.completions};
        Bench bench{backend};
        scenario(bench);
        soft = bench.transcript;
    }
    KernelBackend backend{sizes.submissions, sizes.completions};
    if (backend.error != 0)
        SKIP("no io_uring here (errno " << -backend.error << "): the soft ring ran alone");
    Bench bench{backend};
    scenario(bench);
    CHECK(soft == bench.transcript);
}

inline void put(int fd, std::string_view bytes) {
    REQUIRE(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

/// Reads what is there.
inline std::string get(int fd, std::size_t most = 1 << 16) {
    std::string bytes(most, '\0');
    const ssize_t count = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return bytes;
}

}  // namespace testing
