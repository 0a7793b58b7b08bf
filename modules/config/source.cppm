export module ringfort.config:source;

import ringfort.std;

export namespace ringfort::config {

/// A configuration text and the name people know it by.
struct Source {
    std::string name;  ///< shown in front of every problem; usually the path as given
    std::string text;
    /// Each "KEY=VALUE", as TOML has it; they come after the text, and in the place of what it
    /// says. A value that is no TOML but a word is a string. Without line breaks.
    std::vector<std::string> overrides = {};
};

/// A place in a text. Lines and columns count from 1; a column is one code point, a tab as well.
/// Line 0 means the text as a whole.
struct Place {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    friend constexpr auto operator<=>(const Place&, const Place&) = default;
};

/// From a place up to, and without, another one.
struct Span {
    Place begin;
    Place end;
    friend constexpr auto operator<=>(const Span&, const Span&) = default;
};

/// Gives access to a text by line. Borrows the text: it must outlive the index.
class Lines {
public:
    explicit Lines(std::string_view text);
    /// Counts the lines.
    [[nodiscard]] std::uint32_t count() const noexcept;
    /// Returns a line without its line break; empty when there is no such line.
    [[nodiscard]] std::string_view line(std::uint32_t number) const noexcept;
    /// Returns the part of `span` that lies on its first line.
    [[nodiscard]] std::string_view text(Span span) const noexcept;
    /// Returns the text in front of a line, that is lines 1 to `number` - 1.
    [[nodiscard]] std::string_view before(std::uint32_t number) const noexcept;
    /// Returns the place of a byte of the text.
    [[nodiscard]] Place place(std::size_t offset) const noexcept;

private:
    std::string_view text_;
    std::vector<std::size_t> starts_;
};

}  // namespace ringfort::config
