module;
#include <errno.h>
export module ringfort.base:error;

import ringfort.std;

export namespace ringfort {

/// Names what was being done when something failed: a string literal, so that an Error owns
/// nothing.
class Step {
public:
    template <std::size_t length>
    consteval Step(const char (&literal)[length]) noexcept : text_{literal, length - 1} {}
    /// Returns the literal.
    [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

private:
    std::string_view text_;
};

/// Says what failed, why, and where in the source. Trivially copyable; allocates nothing.
/// Context for people (which file, which listener) is added where people read it.
class [[nodiscard]] Error {
public:
    /// Makes an error of an errno value. `value` is positive, as in errno.
    Error(Step step, int value,
          std::source_location where = std::source_location::current()) noexcept
        : step_{step}, code_{value, std::generic_category()}, where_{where} {}
    Error(Step step, std::errc why,
          std::source_location where = std::source_location::current()) noexcept
        : step_{step}, code_{std::make_error_code(why)}, where_{where} {}

    /// Makes an error of the calling thread's errno.
    static Error last(Step step,
                      std::source_location where = std::source_location::current()) noexcept {
        return {step, errno, where};
    }

    /// What was being done, why it failed, and where in the source.
    [[nodiscard]] inline std::string_view step() const noexcept { return step_.text(); }
    [[nodiscard]] inline std::error_code code() const noexcept { return code_; }
    [[nodiscard]] inline std::source_location where() const noexcept { return where_; }
    [[nodiscard]] inline bool is(std::errc why) const noexcept { return code_ == why; }

    /// Returns "step: reason", for people.
    [[nodiscard]] std::string text() const;

private:
    Step step_;
    std::error_code code_;
    std::source_location where_;
};

static_assert(std::is_trivially_copyable_v<Error>);

}  // namespace ringfort
