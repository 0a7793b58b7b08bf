module;
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
module ringfort.base;

namespace ringfort::log {
namespace {

struct State {
    Options options;
    Identity identity;
    Fd target;
    std::uint64_t lost = 0;
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
}
RawFd target() noexcept {
    return state().target ? state().target.get() : STDERR_FILENO;
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
    const RawFd fd = target();
    const std::string text = line(level, message) + "\n";
    ssize_t written = -1;
    do {
        written = ::write(fd, text.data(), text.size());
    } while (written < 0 && errno == EINTR);
    if (written != static_cast<ssize_t>(text.size())) ++state().lost;
    errno = saved;
}

}  // namespace ringfort::log
