module;
#include <linux/io_uring.h>

#include <chrono>
#include <cstdint>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

Multishot::~Multishot() {
    ensure(state_ == State::idle, "a request was destroyed that the kernel may answer");
}

void Multishot::arm() noexcept {
    if (state_ == State::idle) loop_.submit(*this);
}

bool Multishot::stop() noexcept {
    switch (state_) {
        case State::without_room:
        case State::without_buffer:
            coro::ListNode<Multishot>::unlink();
            state_ = State::idle;
            return false;
        case State::armed:
            state_ = State::stopping;
            loop_.cancel(*this);
            return true;
        case State::stopping:
            return true;
        case State::idle:
            return false;
    }
    return false;
}

void Multishot::arm_with_buffer(BufferPool& pool) noexcept {
    if (state_ == State::idle) loop_.starved(*this, pool);
}

void Loop::submit(Multishot& request) noexcept {
    if (driver_.submit(request.request_, tag_of(request))) [[likely]] {
        request.state_ = Multishot::State::armed;
        ++receiving_;
        if (request.prompt_) ++prompt_;
    } else {
        request.state_ = Multishot::State::without_room;
        multishots_without_room_.push_back(request);
    }
}

void Loop::cancel(Multishot& request) noexcept {
    if (!driver_.cancel(tag_of(request))) multishots_without_room_.push_back(request);
}

void Loop::answer(Multishot& request, int result, std::uint32_t flags) noexcept {
    if ((flags & IORING_CQE_F_MORE) == 0) {
        --receiving_;
        request.coro::ListNode<Multishot>::unlink();  // it may have waited to be cancelled
        request.state_ = Multishot::State::idle;
    }
    request.take_(request, result, flags);
}

void Loop::retry_multishots() noexcept {
    coro::List<Multishot> requests;
    while (Multishot* request = multishots_without_room_.pop_front()) requests.push_back(*request);
    while (Multishot* request = requests.pop_front()) {
        if (request->state_ == Multishot::State::stopping)
            cancel(*request);
        else
            submit(*request);
    }
}

void Loop::starved(Multishot& request, BufferPool& pool) noexcept {
    ++statistics_.starved;
    if (pool.replenish()) {
        if (!trim_timer_.armed())
            scheduler_.timers().arm(trim_timer_, now() + limits::buffer_trim_ms);
        return submit(request);
    }
    request.state_ = Multishot::State::without_buffer;
    multishots_without_buffer_.push_back(request);
    pool.wanted_ = true;
}

void Loop::arm_starved() noexcept {
    coro::List<Multishot> requests;
    while (Multishot* request = multishots_without_buffer_.pop_front())
        requests.push_back(*request);
    while (Multishot* request = requests.pop_front()) submit(*request);
}

}  // namespace ringfort::uring
