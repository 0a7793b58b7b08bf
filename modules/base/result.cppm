export module ringfort.base:result;

import ringfort.std;
import :ensure;
import :error;

export namespace ringfort {

/// Holds a value or the Error that kept it from being. Spelled like C++23's std::expected, so that
/// it can become an alias of it one day; reading the wrong side aborts in every build type.
template <class T>
class [[nodiscard]] Result {
public:
    using value_type = T;

    template <class U = T>
        requires std::constructible_from<T, U&&> &&
                 (!std::same_as<std::remove_cvref_t<U>, Result>) &&
                 (!std::same_as<std::remove_cvref_t<U>, Error>)
    inline Result(U&& value) : state_{std::in_place_index<0>, std::forward<U>(value)} {}
    inline Result(Error error) noexcept : state_{std::in_place_index<1>, error} {}

    /// Reports whether there is a value.
    [[nodiscard]] inline bool has_value() const noexcept { return state_.index() == 0; }
    inline explicit operator bool() const noexcept { return has_value(); }

    /// Returns the value; aborts if there is none.
    [[nodiscard]] inline T& value() & noexcept { return *checked(*this); }
    [[nodiscard]] inline const T& value() const& noexcept { return *checked(*this); }
    [[nodiscard]] inline T&& value() && noexcept { return std::move(*checked(*this)); }
    [[nodiscard]] inline T& operator*() & noexcept { return value(); }
    [[nodiscard]] inline const T& operator*() const& noexcept { return value(); }
    [[nodiscard]] inline T&& operator*() && noexcept { return std::move(*this).value(); }
    [[nodiscard]] inline T* operator->() noexcept { return checked(*this); }
    [[nodiscard]] inline const T* operator->() const noexcept { return checked(*this); }

    /// Returns the Error; aborts if there is a value.
    [[nodiscard]] inline const Error& error() const noexcept {
        const Error* error = std::get_if<1>(&state_);
        ensure(error != nullptr, "error() of a Result that holds a value");
        return *error;
    }

    /// Moves the value out, or returns `other`.
    template <class U>
    [[nodiscard]] T value_or(U&& other) && {
        return has_value() ? std::move(*this).value() : static_cast<T>(std::forward<U>(other));
    }

private:
    template <class Self>
    static auto* checked(Self& self) noexcept {
        auto* value = std::get_if<0>(&self.state_);
        ensure(value != nullptr, "value() of a Result that holds an error");
        return value;
    }

    std::variant<T, Error> state_;
};

/// Success without a value, or the Error.
template <>
class [[nodiscard]] Result<void> {
public:
    using value_type = void;

    Result() noexcept = default;
    inline Result(Error error) noexcept : error_{error} {}

    /// Reports whether it succeeded.
    [[nodiscard]] inline bool has_value() const noexcept { return !error_.has_value(); }
    inline explicit operator bool() const noexcept { return has_value(); }
    /// Aborts unless it succeeded.
    inline void value() const noexcept {
        ensure(has_value(), "value() of a Result that holds an error");
    }
    /// Returns the Error; aborts if there is none.
    [[nodiscard]] inline const Error& error() const noexcept {
        ensure(error_.has_value(), "error() of a Result that holds a value");
        return *error_;
    }

private:
    std::optional<Error> error_;
};

}  // namespace ringfort
