export module ringfort.coro:outcome;

import ringfort.base;
import ringfort.std;
import :ready;

/// What a task leaves behind when it ends. Inline: part of every call of a task.
namespace ringfort::coro {

template <class T>
inline constexpr bool is_result = false;
template <class T>
inline constexpr bool is_result<Result<T>> = true;

/// The part of a task's promise that keeps its value or its exception.
template <class T>
class Outcome {
public:
    Outcome() noexcept {}
    Outcome(Outcome&&) = delete;
    ~Outcome() {
        if (kind_ == Kind::value) std::destroy_at(&value_);
        if (kind_ == Kind::exception) std::destroy_at(&exception_);
    }

    template <class U = T>
    void return_value(U&& value) {
        std::construct_at(&value_, std::forward<U>(value));
        kind_ = Kind::value;
    }
    inline void unhandled_exception() noexcept {
        std::construct_at(&exception_, std::current_exception());
        kind_ = Kind::exception;
    }
    inline T take() {
        if (kind_ == Kind::exception) [[unlikely]]
            std::rethrow_exception(exception_);
        if constexpr (is_result<T>) {
            // Built anew instead of moved as a whole: that would read in wide pieces what has just
            // been written in narrow ones, and wait for it longer than the whole call takes.
            if (!value_.has_value()) [[unlikely]]
                return value_.error();
            if constexpr (std::is_void_v<typename T::value_type>)
                return {};
            else
                return T{*std::move(value_)};
        } else {
            return std::move(value_);
        }
    }

private:
    enum class Kind : std::uint8_t { none, value, exception };
    union {
        T value_;
        std::exception_ptr exception_;
    };
    Kind kind_ = Kind::none;
};

/// Counts tasks that nobody awaits, each of which tells it of its end: the base of Scope.
class Owner {
public:
    inline void ended() noexcept {
        if (--running_ < wake_below_) [[unlikely]]
            wake();
    }

protected:
    Owner() noexcept = default;
    ~Owner() = default;

    std::size_t running_ = 0;
    std::size_t wake_below_ = 0;  ///< somebody waits for there to be fewer than so many

private:
    void wake() noexcept;
};

/// A task without a value is awaited, or spawned: then it belongs to an owner instead of a Task,
/// and destroys itself when it ends.
template <>
class Outcome<void> {
public:
    inline void return_void() noexcept {}
    inline void unhandled_exception() noexcept {
        if (owner_ != nullptr) panic("an exception left a task spawned in a scope");
        exception_ = std::current_exception();
    }
    inline void take() {
        if (exception_) [[unlikely]]
            std::rethrow_exception(exception_);
    }

protected:
    Owner* owner_ = nullptr;
    Resumption start_;

private:
    std::exception_ptr exception_;
};

}  // namespace ringfort::coro
