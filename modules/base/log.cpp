module;
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module ringfort.base;

namespace ringfort::log {
namespace {

struct State {
    Options options;
    Identity identity;
    Fd target;
    bool takes_standard_error = false;
    bool keeps_standard_error = true;
    Fd standard_error;  ///< where it led before it was led to the target
    std::uint64_t lost = 0;
    std::uint64_t untold = 0;  ///< of those, since a line was written
    int why = 0;               ///< the last one was lost: an errno, or 0 when it was cut off
    bool torn = false;         ///< a part of a line is the last thing in the target
    pid_t writer = 0;          ///< whose losses these are: a forked child begins anew
};

State& state() noexcept {
    static State instance;
    return instance;
}

std::string_view name(Level level) noexcept {
    constexpr std::string_view names[] = {"debug", "info", "warning", "error"};
    return names[static_cast<std::size_t>(level)];
}

void append_escaped(std::string& out, std::string_view text, bool quote) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (quote && (c == '"' || c == '\\'))
            (out += '\\') += c;
        else if (c == '\n')
            out += "\\n";
        else if (byte < 0x20 || byte == 0x7f)
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
        else
            out += c;
    }
}

std::string text_line(Level level, std::string_view message) {
    const Identity& who = state().identity;
    std::string out =
        fmt::format("{} {:<7} [{} {}", wall_clock_text(), name(level), ::getpid(), who.role);
    if (who.generation != 0) fmt::format_to(std::back_inserter(out), " g{}", who.generation);
    if (who.slot) fmt::format_to(std::back_inserter(out), " s{}", *who.slot);
    out += "] ";
    append_escaped(out, message, false);
    return out;
}

std::string json_line(Level level, std::string_view message) {
    const Identity& who = state().identity;
    std::string out =
        fmt::format(R"({{"time":"{}","level":"{}","pid":{},"role":"{}","generation":{})",
                    wall_clock_text(), name(level), ::getpid(), who.role, who.generation);
    if (who.slot) fmt::format_to(std::back_inserter(out), R"(,"slot":{})", *who.slot);
    out += R"(,"message":")";
    append_escaped(out, message, true);
    out += "\"}";
    return out;
}

/// Has standard error lead where lines go, and where it led before when they go there.
void lead_standard_error() noexcept {
    State& log = state();
    if (log.target) {
        if (log.keeps_standard_error && !log.standard_error)
            log.standard_error = Fd{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)};
        (void)::dup2(log.target.get(), STDERR_FILENO);
    } else if (log.standard_error) {
        (void)::dup2(log.standard_error.get(), STDERR_FILENO);
        log.standard_error.close();
    }
}

/// Says what could not be written, in front of the first line that may be again.
std::string losses() {
    const State& log = state();
    std::string text = log.torn ? "\n" : "";  // ends what is there of a line
    if (log.untold == 0) return text;
    const std::string why = log.why == 0 ? "no room" : std::generic_category().message(log.why);
    text +=
        line(Level::warning, fmt::format("lines lost before this one: {} ({})", log.untold, why));
    return text + "\n";
}

}  // namespace

void configure(Options options) noexcept {
    state().options = options;
}
Options options() noexcept {
    return state().options;
}
void identify(Identity identity) noexcept {
    state().identity = identity;
}
void write_to(Fd target) noexcept {
    state().target = std::move(target);
    state().torn = false;
    if (state().takes_standard_error) lead_standard_error();
}
void take_standard_error() noexcept {
    state().takes_standard_error = true;
    lead_standard_error();
}
void let_go_of_standard_error() noexcept {
    state().keeps_standard_error = false;
    state().standard_error.close();
}
RawFd target() noexcept {
    return state().target ? state().target.get() : STDERR_FILENO;
}
RawFd kept_standard_error() noexcept {
    return state().standard_error.get();
}
std::uint64_t lost_lines() noexcept {
    return state().lost;
}

std::string line(Level level, std::string_view message) {
    constexpr std::size_t envelope = 256;  // time, level, identity, quotes and what escaping adds
    const bool cut = message.size() > limits::max_log_line_bytes - envelope;
    std::string shortened;
    if (cut) {
        shortened = std::string{message.substr(0, limits::max_log_line_bytes - envelope)} + "...";
        message = shortened;
    }
    return state().options.format == Format::json ? json_line(level, message)
                                                  : text_line(level, message);
}

void write(Level level, std::string_view message) noexcept {
    const int saved = errno;
    State& log = state();
    if (std::exchange(log.writer, ::getpid()) != ::getpid()) {
        log.untold = 0;
        log.torn = false;
    }
    const std::string text = losses() + line(level, message) + "\n";
    ssize_t written = -1;
    do {
        written = ::write(target(), text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    const int why = written < 0 ? errno : 0;
    const bool whole = written == static_cast<ssize_t>(text.size());
    if (written > 0) log.torn = text[static_cast<std::size_t>(written) - 1] != '\n';
    log.lost += whole ? 0 : 1;
    log.untold = whole ? 0 : log.untold + 1;
    log.why = why;
    errno = saved;
}

}  // namespace ringfort::log
