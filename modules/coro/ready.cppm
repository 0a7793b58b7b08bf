module;
#include <coroutine>
#include <cstddef>
export module ringfort.coro:ready;

export namespace ringfort::coro {

/// A coroutine that may go on, as a link of a ReadyQueue. Lives in the awaiter of the suspended
/// coroutine, that is, in its frame: queueing allocates nothing.
struct Resumption {
    std::coroutine_handle<> handle;
    Resumption* next = nullptr;
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

    /// Resumes at most `budget` coroutines, those queued meanwhile included; returns how many.
    std::size_t run(std::size_t budget) {
        std::size_t resumed = 0;
        while (head_ != nullptr && resumed < budget) {
            Resumption* item = head_;
            head_ = item->next;
            ++resumed;
            item->handle.resume();
        }
        return resumed;
    }

private:
    Resumption* head_ = nullptr;
    Resumption* tail_ = nullptr;
};

}  // namespace ringfort::coro
