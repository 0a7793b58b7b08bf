#include "imports.h"

#include <algorithm>
#include <cctype>

namespace tidy {
namespace {

constexpr std::string_view module_prefix = "ringfort.";
constexpr std::string_view target_prefix = "ringfort::";

/// Removes `word` and the spaces behind it from the front; returns whether it was there.
bool take_word(std::string_view& text, std::string_view word) {
    if (!text.starts_with(word)) return false;
    const auto rest = text.substr(word.size());
    if (!rest.empty() && is_name(rest.front())) return false;
    text = trimmed(rest);
    return true;
}

std::vector<std::string> cmake_words(std::string_view cmake) {
    std::vector<std::string> words;
    for (auto line : lines_of(cmake)) {
        line = line.substr(0, line.find('#'));
        std::string word;
        for (const char c : std::string{line} + " ") {
            const bool bracket = c == '(' || c == ')';
            if (!bracket && std::isspace(static_cast<unsigned char>(c)) == 0) {
                word += c;
                continue;
            }
            if (!word.empty()) words.push_back(std::move(word));
            word.clear();
            if (bracket) words.emplace_back(1, c);
        }
    }
    return words;
}

std::string joined(const std::set<std::string>& names) {
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    return all.empty() ? "nothing" : all;
}

/// A header of C++'s own has no extension and lies in no folder.
bool includes_standard_header(std::string_view line) {
    static constexpr std::string_view word = "#include <";
    line = trimmed(line);
    if (!line.starts_with(word)) return false;
    const auto name = line.substr(word.size(), line.find('>') - word.size());
    return name.find_first_of("./") == name.npos;
}

}  // namespace

const std::map<std::string, std::set<std::string>>& floors() {
    static const std::map<std::string, std::set<std::string>> table{
        {"std", {}},
        {"base", {"std"}},
        {"coro", {"std", "base"}},
        {"shm", {"std", "base"}},
        {"channel", {"std", "base"}},
        {"process", {"std", "base"}},
        {"config", {"std", "base"}},
        {"uring", {"std", "base", "coro"}},
        {"net", {"std", "base", "coro", "uring"}},
        {"cycle", {"std", "base", "config", "shm", "process"}},
        {"worker", {"std", "base", "coro", "uring", "net", "shm", "channel", "config"}},
        {"master", {"std", "base", "config", "shm", "channel", "process", "cycle"}},
        {"ringfort",
         {"std", "base", "coro", "shm", "channel", "process", "config", "uring", "net", "cycle",
          "worker", "master"}},
    };
    return table;
}

std::vector<Import> imports_of(const Source& source) {
    std::vector<Import> imports;
    const auto code = code_of(source.text);
    std::size_t number = 0;
    for (auto line : lines_of(code)) {
        ++number;
        line = trimmed(line);
        take_word(line, "export");
        if (!take_word(line, "import") || !line.starts_with(module_prefix)) continue;
        line.remove_prefix(module_prefix.size());
        imports.push_back({std::string{trimmed(line.substr(0, line.find(';')))}, number});
    }
    return imports;
}

LayerTarget layer_target(std::string_view cmake) {
    LayerTarget target;
    std::string keyword;
    bool inside = false;
    const auto words = cmake_words(cmake);
    for (std::size_t at = 0; at < words.size(); ++at) {
        const auto& word = words[at];
        if (word == "ringfort_layer" && at + 2 < words.size()) {
            inside = true;
            target.name = words[at + 2];
            at += 2;
        } else if (word == ")") {
            inside = false;
            keyword.clear();
        } else if (word == "INTERFACES" || word == "SOURCES" || word == "LINKS" ||
                   word == "PRIVATE_LINKS") {
            keyword = word;
        } else if (!inside && word.starts_with(target_prefix)) {
            target.stray_links.insert(word.substr(target_prefix.size()));
        } else if (inside && (keyword == "INTERFACES" || keyword == "SOURCES")) {
            target.files.insert(word);
        } else if (inside && word.starts_with(target_prefix)) {
            auto& links = keyword == "LINKS" ? target.links : target.private_links;
            links.insert(word.substr(target_prefix.size()));
        }
    }
    return target;
}

Findings check_imports(const Layer& layer) {
    Findings findings;
    const auto target = layer_target(layer.cmake.text);
    const auto row = floors().find(layer.name);
    if (row == floors().end()) {
        findings.push_back(
            {layer.cmake.path, 1,
             "give the layer " + layer.name + " a row in the table of tests/tidy/imports.cpp"});
        return findings;
    }
    std::set<std::string> imported;
    for (const auto& source : layer.sources) {
        const bool interface = source.extension() == ".cppm";
        for (const auto& [name, line] : imports_of(source)) {
            imported.insert(name);
            if (!row->second.contains(name))
                findings.push_back({source.path, line,
                                    "do not import ringfort." + name + ": " + layer.name +
                                        " may import " + joined(row->second)});
            else if (interface && !target.links.contains(name))
                findings.push_back({source.path, line,
                                    "add ringfort::" + name + " to LINKS in " + layer.cmake.path});
            else if (!target.links.contains(name) && !target.private_links.contains(name))
                findings.push_back({source.path, line,
                                    "add ringfort::" + name + " to LINKS or PRIVATE_LINKS in " +
                                        layer.cmake.path});
        }
    }
    auto linked = target.links;
    linked.insert(target.private_links.begin(), target.private_links.end());
    for (const auto& name : linked)
        if (!imported.contains(name))
            findings.push_back({layer.cmake.path, 1,
                                "remove the link to ringfort::" + name + ": nothing in " +
                                    layer.name + " imports it"});
    for (const auto& name : target.stray_links)
        findings.push_back({layer.cmake.path, 1,
                            "link ringfort::" + name + " in the call of ringfort_layer only"});
    return findings;
}

Findings check_includes(const Source& source) {
    Findings findings;
    if (source.extension() != ".cppm" || source.path == "modules/std/std.cppm") return findings;
    std::size_t number = 0;
    for (const auto line : lines_of(source.text)) {
        ++number;
        if (includes_standard_header(line))
            findings.push_back({source.path, number,
                                "import ringfort.std; here: interfaces include no header of the "
                                "standard library"});
    }
    return findings;
}

}  // namespace tidy
