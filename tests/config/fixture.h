/// An application with three services, for reading configurations in tests. Names std types only,
/// so that it can be included before the import.
#ifndef RINGFORT_TESTS_CONFIG_FIXTURE_H
#define RINGFORT_TESTS_CONFIG_FIXTURE_H

#include <string>
#include <string_view>
#include <vector>

namespace fixture {

/// What reading a text gave.
struct Outcome {
    bool good = false;
    std::vector<std::string> headlines;  ///< of the problems, without "t.toml:" and "error: "
    std::string text;                    ///< all problems' text, or the effective configuration
};

/// Reads a text as "t.toml" with the services echo, proxy and picky.
Outcome read(std::string_view text);

/// The shortest good configuration; ends in a newline.
inline constexpr std::string_view listener =
    "[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"echo\"\n";

/// Reads lines as a table's, with a listener behind them. Line 1 is the header.
inline Outcome read_in(std::string_view header, std::string_view lines) {
    return read(std::string{header} + "\n" + std::string{lines} + "\n" + std::string{listener});
}

}  // namespace fixture

#endif
