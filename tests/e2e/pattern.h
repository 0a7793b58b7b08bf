#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace e2e {

/// An endless, reproducible, incompressible stream of bytes that can be produced and checked at any
/// offset, so that a transfer of any size is verified byte by byte without being kept.
class Pattern {
public:
    explicit Pattern(std::uint64_t seed) noexcept : seed_{seed} {}
    void fill(std::uint64_t offset, std::span<char> out) const noexcept;
    /// Returns the index of the first byte of `data` that differs from the stream at `offset`.
    [[nodiscard]] std::optional<std::size_t> first_difference(
        std::uint64_t offset, std::span<const char> data) const noexcept;
    [[nodiscard]] std::string bytes(std::size_t size) const;

private:
    [[nodiscard]] std::uint64_t word(std::uint64_t index) const noexcept;
    std::uint64_t seed_;
};

}  // namespace e2e
