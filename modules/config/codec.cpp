module;
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

using Kind = Node::Kind;

std::optional<std::int64_t> whole_number(std::string_view text) {
    std::int64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto [rest, failure] = std::from_chars(text.data(), end, number);
    if (failure != std::errc{} || rest != end) return std::nullopt;
    return number;
}

/// Understands "30s", "1.5 h" is left alone: a remedy is offered only where it is certain.
std::optional<std::int64_t> duration_ms(std::string_view text) {
    struct Unit {
        std::string_view name;
        std::int64_t ms;
    };
    constexpr std::array<Unit, 7> units{{{"ms", 1},
                                         {"s", 1'000},
                                         {"sec", 1'000},
                                         {"m", 60'000},
                                         {"min", 60'000},
                                         {"h", 3'600'000},
                                         {"d", 86'400'000}}};
    const std::size_t digits = text.find_first_not_of("0123456789");
    const auto number = whole_number(text.substr(0, digits));
    if (!number || digits == text.npos) return number;
    std::string_view name = text.substr(digits);
    while (name.starts_with(' ')) name.remove_prefix(1);
    for (const Unit& unit : units)
        if (name == unit.name && *number <= limits::max_duration_ms.count() / unit.ms)
            return *number * unit.ms;
    return std::nullopt;
}

/// Guesses what a size in other units was meant to be: "4M", "4MB", "4 mib".
std::string size_help(const Input& input, std::string_view text) {
    constexpr std::string_view units = "KMG";
    const std::string general = "sizes are written 4096, \"64KiB\", \"4MiB\" or \"1GiB\"";
    const std::size_t digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == text.npos) return general;
    const std::size_t letter = text.find_first_not_of(' ', digits);
    const auto upper = static_cast<char>(static_cast<unsigned char>(text[letter]) & 0xdfU);
    if (units.find(upper) == units.npos) return general;
    return input.write(fmt::format("\"{}{}iB\"", text.substr(0, digits), upper));
}

std::optional<std::int64_t> signed_count(Bytes bytes) {
    constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(std::min(bytes.count, most));
}

bool within(const Input& input, std::int64_t value, std::optional<std::int64_t> min,
            std::optional<std::int64_t> max, std::string_view unit) {
    if ((!min || *min <= value) && (!max || value <= *max)) return true;
    return input.fail("must be " + range_text(min, max, unit));
}

std::string bytes_range(const Options& o) {
    const auto text = [](std::int64_t count) {
        return Bytes{static_cast<std::uint64_t>(count)}.text();
    };
    if (o.min && o.max) return text(*o.min) + " to " + text(*o.max);
    if (o.min) return "at least " + text(*o.min);
    return o.max ? "up to " + text(*o.max) : std::string{};
}

std::string address_help(std::string_view text) {
    if (whole_number(text)) return fmt::format("write \"*:{0}\" or \"127.0.0.1:{0}\"", text);
    if (text.starts_with('/') || text.starts_with("./") || text.starts_with("unix/"))
        return fmt::format("write \"unix:{}\" for a unix socket", text);
    if (text.starts_with("localhost:"))
        return fmt::format("names are not resolved; write \"127.0.0.1{}\"", text.substr(9));
    if (text.starts_with("udp:"))
        return "write the address alone, and protocol = \"udp\" beside it";
    if (text.starts_with("unix:")) return "the path may have up to 107 bytes";
    if (text.find(':') == text.npos) return "add the port: \"127.0.0.1:7000\"";
    return "write \"127.0.0.1:7000\", \"[::1]:7000\", \"*:7000\", \"unix:/path\" or "
           "\"unix:@name\"; names are not resolved and ports end at 65535";
}

}  // namespace

std::string Input::subject() const {
    if (item == 0) return fmt::format("`{}`", key);
    return fmt::format("item {} of `{}`", item, key);
}

bool Input::fail(std::string_view complaint, std::string help) const {
    report.add(node.span, fmt::format("{} {}", subject(), complaint), std::move(help));
    return false;
}

bool Input::wrong_type(std::string_view wanted, std::string help) const {
    return fail(fmt::format("must be {}, not {}", wanted, node.kind_text()), std::move(help));
}

std::string Input::write(std::string_view literal) const {
    if (item != 0) return fmt::format("write {}", literal);
    return fmt::format("write {} = {}", key, literal);
}

bool read_boolean(const Input& input, bool& out) {
    if (input.node.kind != Kind::boolean) {
        const std::string& text = input.node.string;
        const bool quoted = text == "true" || text == "false";
        return input.wrong_type("a boolean", input.write(quoted ? text : "true, or false"));
    }
    out = input.node.boolean;
    return true;
}

bool read_integer(const Input& input, std::int64_t least, std::int64_t most, std::int64_t& out) {
    if (input.node.kind != Kind::integer) {
        const auto meant = whole_number(input.node.string);
        return input.wrong_type("an integer", meant ? input.write(grouped(*meant)) : "");
    }
    const Options& o = input.options;
    const std::int64_t min = std::max(least, o.min.value_or(least));
    const std::int64_t max = std::min(most, o.max.value_or(most));
    constexpr std::int64_t endless = std::numeric_limits<std::int64_t>::max();
    if (!within(input, input.node.integer, min, max == endless ? std::nullopt : std::optional{max},
                ""))
        return false;
    out = input.node.integer;
    return true;
}

bool read_milliseconds(const Input& input, Milliseconds& out) {
    if (input.node.kind != Kind::integer) {
        const auto meant = duration_ms(input.node.string);
        return input.wrong_type("an integer of milliseconds",
                                meant ? input.write(grouped(*meant)) : "");
    }
    const std::int64_t min = input.options.min.value_or(0);
    const bool too_small = input.node.integer < min;
    const auto max =
        input.options.max || too_small ? input.options.max : limits::max_duration_ms.count();
    if (!within(input, input.node.integer, min, max, "ms")) return false;
    out = Milliseconds{input.node.integer};
    return true;
}

std::string Codec<Milliseconds>::range(const Options& options) const {
    return range_text(options.min.value_or(0), options.max, "ms");
}

bool read_bytes(const Input& input, Bytes& out) {
    Bytes size;
    if (input.node.kind == Kind::integer) {
        if (input.node.integer < 0) return input.fail("must not be negative");
        size.count = static_cast<std::uint64_t>(input.node.integer);
    } else if (input.node.kind == Kind::string) {
        const auto parsed = Bytes::parse(input.node.string);
        if (!parsed && parsed.error().is(std::errc::result_out_of_range))
            return input.fail("is too large a size");
        if (!parsed) return input.fail("is not a size", size_help(input, input.node.string));
        size = *parsed;
    } else {
        return input.wrong_type("a size", size_help(input, {}));
    }
    const auto count = signed_count(size);
    const Options& o = input.options;
    if ((o.min && *count < *o.min) || (o.max && *count > *o.max))
        return input.fail(fmt::format("must be {}, not {}", bytes_range(o), size.text()));
    out = size;
    return true;
}

std::string Codec<Bytes>::range(const Options& options) const {
    return bytes_range(options);
}

bool read_string(const Input& input, std::string& out) {
    if (input.node.kind != Kind::string) {
        const std::string written{input.report.text(input.node.span)};
        const bool scalar = input.node.kind != Kind::array && input.node.kind != Kind::table;
        return input.wrong_type("a string", scalar ? input.write("\"" + written + "\"") : "");
    }
    const std::string& text = input.node.string;
    if (text.find('\0') != text.npos) return input.fail("must not contain a NUL character");
    const auto size = static_cast<std::int64_t>(text.size());
    if (size == 0 && input.options.min.value_or(0) > 0) return input.fail("must not be empty");
    if (!within(input, size, input.options.min, input.options.max, "bytes long")) return false;
    out = text;
    return true;
}

bool read_address(const Input& input, Address& out) {
    if (input.node.kind != Kind::string) {
        const std::string number =
            input.node.kind == Kind::integer ? std::to_string(input.node.integer) : "";
        return input.wrong_type("an address in quotes", address_help(number));
    }
    const auto address = Address::parse(input.node.string);
    if (!address)
        return input.fail(fmt::format("is not an address: \"{}\"", input.node.string),
                          address_help(input.node.string));
    out = *address;
    return true;
}

bool read_name(const Input& input, const std::vector<std::string>& names, std::size_t& out) {
    if (input.node.kind != Kind::string)
        return input.wrong_type(enumerate(names, "or") + " in quotes");
    const auto found = std::find(names.begin(), names.end(), input.node.string);
    if (found == names.end()) {
        const std::string meant = nearest(input.node.string, names);
        return input.fail(
            fmt::format("must be {}, not `{}`", enumerate(names, "or"), input.node.string),
            meant.empty() ? "" : fmt::format("did you mean \"{}\"?", meant));
    }
    out = static_cast<std::size_t>(found - names.begin());
    return true;
}

bool check_array(const Input& input) {
    if (input.node.kind != Kind::array)
        return input.wrong_type(
            "an array", input.write(fmt::format("[{}]", input.report.text(input.node.span))));
    const std::size_t count = input.node.items.size();
    const Options& o = input.options;
    if (count >= o.min_items && count <= o.max_items) return true;
    return input.fail(
        fmt::format("must have {} to {} items, not {}", o.min_items, o.max_items, count));
}

std::string quote(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            (out += '\\') += c;
        else if (c == '\n')
            out += "\\n";
        else if (c == '\t')
            out += "\\t";
        else if (c == '\r')
            out += "\\r";
        else if (byte < 0x20 || byte == 0x7f)
            out += fmt::format("\\u{:04x}", byte);
        else
            out += c;
    }
    return out + '"';
}

std::string grouped(std::int64_t number) {
    std::string digits = std::to_string(number);
    const std::size_t sign = number < 0 ? 1 : 0;
    for (std::size_t i = digits.size(); i > sign + 3; i -= 3) digits.insert(i - 3, "_");
    return digits;
}

std::string range_text(std::optional<std::int64_t> min, std::optional<std::int64_t> max,
                       std::string_view unit) {
    const std::string suffix = unit.empty() ? "" : " " + std::string{unit};
    if (min && max) return grouped(*min) + " to " + grouped(*max) + suffix;
    if (min) return "at least " + grouped(*min) + suffix;
    return max ? "up to " + grouped(*max) + suffix : std::string{};
}

}  // namespace ringfort::config
