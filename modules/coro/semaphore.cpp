module;
#include <coroutine>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>
module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

void Permit::release() noexcept {
    if (Semaphore* semaphore = std::exchange(semaphore_, nullptr)) semaphore->give_back(count_);
}

Semaphore::~Semaphore() {
    ensure(waiting_.empty(), "a semaphore was destroyed with a task waiting for it");
    ensure(free_ == total_, "a semaphore was destroyed with permits held");
}

std::optional<Permit> Semaphore::try_acquire(std::size_t count) noexcept {
    if (!take(count)) return std::nullopt;
    return Permit{*this, count};
}

bool Semaphore::take(std::size_t count) noexcept {
    ensure(count <= total_, "more permits were asked for than a semaphore has");
    if (count > free_ || !waiting_.empty()) return false;
    free_ -= count;
    return true;
}

void Semaphore::give_back(std::size_t count) noexcept {
    free_ += count;
    serve();
}

void Semaphore::serve() noexcept {
    while (auto* first = static_cast<Acquire*>(waiting_.front())) {
        if (first->count_ > free_) return;
        free_ -= first->count_;
        first->wake();
    }
}

bool Semaphore::Acquire::begin(std::coroutine_handle<> task, const Context& context) noexcept {
    if (!context.cancelled() && semaphore_.take(count_)) return pass(task, context);
    return wait(task, context, semaphore_.waiting_);
}

Result<Permit> Semaphore::Acquire::await_resume() noexcept {
    if (!resumed_cancelled()) return Permit{semaphore_, count_};
    semaphore_.serve();  // those behind may be content with what is free
    return Error{"wait for a semaphore", std::errc::operation_canceled};
}

}  // namespace ringfort::coro
