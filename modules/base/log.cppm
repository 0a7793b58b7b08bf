module;
#include <fmt/format.h>
export module ringfort.base:log;

import ringfort.std;
import :fd;

/// One log for the process: a line an event, written by one write(2), so that lines of several
/// processes appending to one file do not mix. Not for use by several threads.
export namespace ringfort::log {

/// How much a line matters, and how lines are spelled.
enum class Level : std::uint8_t { debug, info, warning, error };
enum class Format : std::uint8_t { text, json };

/// Says which process writes: shown on every line.
struct Identity {
    std::string_view role = "main";  ///< a literal: "master", "worker"
    std::uint32_t generation = 0;    ///< 0 before the first cycle
    std::optional<std::uint32_t> slot = {};
};

/// Which lines are written, and how.
struct Options {
    Level level = Level::info;
    Format format = Format::text;
};

/// Sets and returns what holds for this process, and names the process.
void configure(Options options) noexcept;
[[nodiscard]] Options options() noexcept;
void identify(Identity identity) noexcept;
/// Sends lines to `target` from now on; an empty Fd means standard error. Takes ownership.
void write_to(Fd target) noexcept;
/// Has standard error lead to the target, too, from now on: a library or a sanitizer writes there.
/// With standard error as the target it leads where it did before, for which that is kept open.
void take_standard_error() noexcept;
/// Closes what is kept of the former standard error: it does not come back.
void let_go_of_standard_error() noexcept;
/// Return the descriptor lines go to, and that of the former standard error, -1 when none is kept.
/// They stay the log's: for those who close all others.
[[nodiscard]] RawFd target() noexcept;
[[nodiscard]] RawFd kept_standard_error() noexcept;
/// Counts lines that could not be written (disk full, closed pipe). The first one that can be
/// written again is preceded by one that tells how many were lost since the last, and why.
[[nodiscard]] std::uint64_t lost_lines() noexcept;

/// Formats a line, without the newline. Control characters are escaped, in both formats.
[[nodiscard]] std::string line(Level level, std::string_view message);

/// Writes one line, cut at `limits::max_log_line_bytes`. Blocks as long as write(2) does.
void write(Level level, std::string_view message) noexcept;

/// Reports whether lines of this level are written.
[[nodiscard]] inline bool enabled(Level level) noexcept {
    return level >= options().level;
}

/// Formats and writes at a level known only at run time. The functions below name it.
template <class... Args>
void write_at(Level level, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level)) write(level, fmt::format(format, std::forward<Args>(args)...));
}
/// Writes a line of this level, formatted with fmt; formats nothing when the level is off.
template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::debug))
        write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::warning))
        write(Level::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::error))
        write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ringfort::log
