/// A source file as the checks see it, and what a check reports.
#ifndef RINGFORT_TIDY_SOURCE_H
#define RINGFORT_TIDY_SOURCE_H

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace tidy {

/// Something to put right, said as an instruction.
struct Finding {
    std::string file;
    std::size_t line = 1;  ///< from 1
    std::string what;

    bool operator==(const Finding&) const = default;
};

using Findings = std::vector<Finding>;

/// Formats one finding a line: "file:line: what to do".
std::string text(const Findings& findings);

void append(Findings& to, Findings from);

/// A file of the tree. `path` is relative to its root, with forward slashes.
struct Source {
    std::string path;
    std::string text;

    /// Returns "net" of "modules/net/stream.cpp".
    [[nodiscard]] std::string folder() const;
    /// Returns "stream" of "modules/net/stream.cpp".
    [[nodiscard]] std::string stem() const;
    /// Returns ".cpp" of "modules/net/stream.cpp"; empty if there is none.
    [[nodiscard]] std::string extension() const;
};

/// Returns the text with comments, the insides of literals and preprocessor lines blanked out, so
/// that what is left is code, each character at its old place.
std::string code_of(std::string_view text);

/// Splits at newlines; a final newline begins no further line.
std::vector<std::string_view> lines_of(std::string_view text);

std::string_view trimmed(std::string_view text);
bool is_name(char c);

/// Reports whether `word` occurs in `text` with no letter, digit or underscore at its sides.
bool has_word(std::string_view text, std::string_view word);

}  // namespace tidy

#endif
