module;
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module ringfort.base;

namespace ringfort {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t count;
};
constexpr Unit units[] = {{"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}};

}  // namespace

Result<Bytes> Bytes::parse(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc{}) return Error{"parse a size", failure};
    std::string_view suffix = text.substr(static_cast<std::size_t>(end - text.data()));
    while (suffix.starts_with(' ')) suffix.remove_prefix(1);
    if (suffix.empty()) return Bytes{number};
    for (const Unit& unit : units) {
        if (suffix != unit.name) continue;
        if (number > std::numeric_limits<std::uint64_t>::max() / unit.count)
            return Error{"parse a size", std::errc::result_out_of_range};
        return Bytes{number * unit.count};
    }
    return Error{"parse a size", std::errc::invalid_argument};
}

std::string Bytes::text() const {
    for (const Unit& unit : units)
        if (count >= unit.count && count % unit.count == 0)
            return std::to_string(count / unit.count) + std::string{unit.name};
    return "0B";
}

}  // namespace ringfort
