export module ringfort.base:bytes;

import ringfort.std;
import :error;
import :result;

export namespace ringfort {

/// A size in bytes, written "4096", "64KiB", "4MiB" or "1GiB" in configurations.
struct Bytes {
    std::uint64_t count = 0;

    /// Parses a size. Errors: EINVAL for anything else than digits and one of the units B, KiB,
    /// MiB, GiB; ERANGE past 2^64 - 1.
    [[nodiscard]] static Result<Bytes> parse(std::string_view text);
    /// Formats with the largest unit that divides the size.
    [[nodiscard]] std::string text() const;

    friend constexpr auto operator<=>(const Bytes&, const Bytes&) = default;
};

}  // namespace ringfort
