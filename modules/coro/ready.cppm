module;
#include <coroutine>
export module ringfort.coro:ready;

import :context;

export namespace ringfort::coro {

/// A coroutine that may go on, as a link of a ReadyQueue. Lives in the awaiter of the suspended
/// coroutine, that is, in its frame: queueing allocates nothing.
struct Resumption {
    std::coroutine_handle<> handle;
    Resumption* next = nullptr;
    const Label* label = nullptr;

    /// Notes which task is to go on, and whose it is.
    void prepare(std::coroutine_handle<> task, const Context& context) noexcept {
        handle = task;
        label = context.label;
    }
};

/// The coroutines of one thread that may go on, oldest first.
class ReadyQueue {
public:
    ReadyQueue() noexcept = default;
    ReadyQueue(ReadyQueue&&) = delete;

    /// Tells whether nothing may go on.
    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    /// Queues `item`, which must stay alive and be in no queue until it is resumed.
    void push(Resumption& item) noexcept {
        item.next = nullptr;
        (head_ == nullptr ? head_ : tail_->next) = &item;
        tail_ = &item;
    }

    /// Takes the oldest out; there must be one.
    [[nodiscard]] Resumption& pop() noexcept {
        Resumption& item = *head_;
        head_ = item.next;
        return item;
    }

private:
    Resumption* head_ = nullptr;
    Resumption* tail_ = nullptr;
};

}  // namespace ringfort::coro
