#include "json.h"

#include <cctype>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace e2e {
namespace {

class Reader {
public:
    explicit Reader(std::string_view text) : rest_{text} {}

    [[nodiscard]] bool take(char wanted) {
        skip_space();
        if (rest_.empty() || rest_.front() != wanted) return false;
        rest_.remove_prefix(1);
        return true;
    }

    [[nodiscard]] bool at_end() {
        skip_space();
        return rest_.empty();
    }

    [[nodiscard]] std::optional<std::string> string() {
        if (!take('"')) return {};
        std::string out;
        while (!rest_.empty()) {
            const char c = next();
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20) return {};
            if (c != '\\')
                out += c;
            else if (!escape(out))
                return {};
        }
        return {};
    }

    [[nodiscard]] std::optional<std::string> value() {
        skip_space();
        if (rest_.starts_with('"')) return string();
        for (const std::string_view literal : {"true", "false", "null"})
            if (rest_.starts_with(literal)) return taken(literal.size());
        return number();
    }

private:
    void skip_space() {
        while (!rest_.empty() && std::string_view{" \t\r\n"}.find(rest_.front()) != rest_.npos)
            rest_.remove_prefix(1);
    }
    char next() {
        const char c = rest_.front();
        rest_.remove_prefix(1);
        return c;
    }
    std::string taken(std::size_t size) {
        std::string out{rest_.substr(0, size)};
        rest_.remove_prefix(size);
        return out;
    }

    bool escape(std::string& out) {
        if (rest_.empty()) return false;
        const char c = next();
        constexpr std::string_view codes = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        if (const auto at = codes.find(c); at != codes.npos) {
            out += meanings[at];
            return true;
        }
        if (c != 'u' || rest_.size() < 4) return false;
        for (const char digit : rest_.substr(0, 4))
            if (std::isxdigit(static_cast<unsigned char>(digit)) == 0) return false;
        const int code = std::stoi(taken(4), nullptr, 16);
        if (code > 0x7f) return false;  // our logs write UTF-8 as it is
        out += static_cast<char>(code);
        return true;
    }

    [[nodiscard]] std::optional<std::string> number() {
        std::size_t size = rest_.starts_with('-') ? 1 : 0;
        const auto digits = [&] {
            const std::size_t start = size;
            while (size < rest_.size() &&
                   std::isdigit(static_cast<unsigned char>(rest_[size])) != 0)
                ++size;
            return size - start;
        };
        const std::size_t first = size;
        const std::size_t whole = digits();
        if (whole == 0 || (whole > 1 && rest_[first] == '0')) return {};
        if (size < rest_.size() && rest_[size] == '.') {
            ++size;
            if (digits() == 0) return {};
        }
        return taken(size);
    }

    std::string_view rest_;
};

}  // namespace

std::optional<std::map<std::string, std::string>> parse_flat_json(std::string_view text) {
    Reader reader{text};
    std::map<std::string, std::string> result;
    if (!reader.take('{')) return {};
    do {
        auto key = reader.string();
        if (!key || !reader.take(':')) return {};
        auto value = reader.value();
        if (!value || !result.emplace(std::move(*key), std::move(*value)).second) return {};
    } while (reader.take(','));
    if (!reader.take('}') || !reader.at_end()) return {};
    return result;
}

}  // namespace e2e
