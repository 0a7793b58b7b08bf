#include "source.h"

#include <algorithm>
#include <cctype>

namespace tidy {
namespace {

/// Walks over C++ text and copies what is code.
class Blanker {
public:
    explicit Blanker(std::string_view text) : text_{text}, code_(text) {}

    std::string run() {
        while (at_ < text_.size()) {
            if (line_begins_ && directive()) continue;
            if (starts("//"))
                blank_until_line_end();
            else if (starts("/*"))
                blank_through("*/", 2);
            else if (starts("R\"") && (at_ == 0 || !is_name(text_[at_ - 1])))
                raw_string();
            else if (text_[at_] == '"' || (text_[at_] == '\'' && !separates_digits()))
                literal(text_[at_]);
            else
                step();
        }
        return std::move(code_);
    }

private:
    bool starts(std::string_view what) const { return text_.substr(at_).starts_with(what); }

    void step() {
        if (text_[at_] == '\n')
            line_begins_ = true;
        else if (text_[at_] != ' ')
            line_begins_ = false;
        ++at_;
    }

    void blank() {
        if (code_[at_] != '\n') code_[at_] = ' ';
        ++at_;
    }

    void blank_until_line_end() {
        while (at_ < text_.size() && text_[at_] != '\n') blank();
    }

    void blank_through(std::string_view end, std::size_t begin) {
        const auto found = text_.find(end, at_ + begin);
        const auto stop = found == text_.npos ? text_.size() : found + end.size();
        while (at_ < stop) blank();
    }

    bool directive() {
        if (text_[at_] != '#') return false;
        bool continued = true;
        while (continued && at_ < text_.size()) {
            const auto end = std::min(text_.find('\n', at_), text_.size());
            continued = end > at_ && text_[end - 1] == '\\';
            while (at_ < end) blank();
            if (at_ < text_.size()) ++at_;
        }
        return true;
    }

    void raw_string() {
        const auto open = text_.find('(', at_);
        const auto delimiter = text_.substr(at_ + 2, open - at_ - 2);
        line_begins_ = false;
        blank_through(")" + std::string{delimiter} + "\"", 2);
    }

    void literal(char quote) {
        line_begins_ = false;
        ++at_;
        while (at_ < text_.size() && text_[at_] != quote && text_[at_] != '\n') {
            if (text_[at_] == '\\') blank();
            if (at_ < text_.size()) blank();
        }
        if (at_ < text_.size()) ++at_;
    }

    bool separates_digits() const {
        auto begin = at_;
        while (begin > 0 && (is_name(text_[begin - 1]) || text_[begin - 1] == '\'')) --begin;
        return begin < at_ && std::isdigit(static_cast<unsigned char>(text_[begin])) != 0;
    }

    std::string_view text_;
    std::string code_;
    std::size_t at_ = 0;
    bool line_begins_ = true;
};

}  // namespace

std::string text(const Findings& findings) {
    std::string all;
    for (const auto& [file, line, what] : findings)
        all += file + ":" + std::to_string(line) + ": " + what + "\n";
    return all;
}

void append(Findings& to, Findings from) {
    std::move(from.begin(), from.end(), std::back_inserter(to));
}

std::string Source::folder() const {
    const auto end = path.rfind('/');
    if (end == path.npos) return {};
    const auto begin = path.rfind('/', end - 1);
    return path.substr(begin == path.npos ? 0 : begin + 1,
                       begin == path.npos ? end : end - begin - 1);
}

std::string Source::stem() const {
    const auto name = path.substr(path.rfind('/') + 1);
    return name.substr(0, name.find('.'));
}

std::string Source::extension() const {
    const auto name = path.substr(path.rfind('/') + 1);
    const auto dot = name.rfind('.');
    return dot == name.npos ? std::string{} : name.substr(dot);
}

std::string code_of(std::string_view text) {
    return Blanker{text}.run();
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        lines.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return lines;
}

std::string_view trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(" \t\r\n");
    if (begin == text.npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

bool is_name(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool has_word(std::string_view text, std::string_view word) {
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        const auto end = at + word.size();
        if ((at == 0 || !is_name(text[at - 1])) && (end == text.size() || !is_name(text[end])))
            return true;
    }
    return false;
}

}  // namespace tidy
