export module ringfort.coro:ring;

import ringfort.base;
import ringfort.std;

namespace ringfort::coro {

/// A queue in one array: allocates only in `grow`.
template <class T>
class Ring {
    static_assert(std::is_nothrow_move_constructible_v<T>);

public:
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] bool full() const noexcept { return size_ == capacity_; }

    /// Makes room for `capacity` values in all; false when there is no memory.
    [[nodiscard]] bool grow(std::size_t capacity) noexcept {
        std::unique_ptr<std::optional<T>[]> larger{new (std::nothrow) std::optional<T>[capacity]};
        if (!larger) return false;
        const std::size_t size = size_;
        for (std::size_t i = 0; i < size; ++i) larger[i].emplace(pop());
        slots_ = std::move(larger);
        capacity_ = capacity;
        first_ = 0;
        size_ = size;
        return true;
    }
    void push(T&& value) noexcept {
        ensure(!full(), "a value was pushed into a ring that is full");
        const std::size_t at = first_ + size_;
        slots_[at < capacity_ ? at : at - capacity_].emplace(std::move(value));
        ++size_;
    }
    T pop() noexcept {
        ensure(size_ > 0, "a value was taken from a ring that is empty");
        std::optional<T>& slot = slots_[first_];
        first_ = first_ + 1 < capacity_ ? first_ + 1 : 0;
        --size_;
        T value{*std::move(slot)};
        slot.reset();
        return value;
    }

private:
    std::unique_ptr<std::optional<T>[]> slots_;
    std::size_t capacity_ = 0;
    std::size_t first_ = 0;
    std::size_t size_ = 0;
};

}  // namespace ringfort::coro
