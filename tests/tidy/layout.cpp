#include "layout.h"

#include <algorithm>

#include "declarations.h"

namespace tidy {
namespace {

struct ModuleLine {
    std::string text;  ///< as written, without the semicolon
    std::size_t line = 1;
};

ModuleLine module_line(const Source& source) {
    const auto code = code_of(source.text);
    std::size_t number = 0;
    for (auto line : lines_of(code)) {
        ++number;
        line = trimmed(line);
        if ((line.starts_with("module ") || line.starts_with("export module ")) &&
            line.ends_with(';'))
            return {std::string{trimmed(line.substr(0, line.size() - 1))}, number};
    }
    return {};
}

/// Returns the name of the layer's module: the facade is called like the whole.
std::string module_name(const Layer& layer) {
    return layer.name == "ringfort" ? "ringfort" : "ringfort." + layer.name;
}

void check_module_line(const Layer& layer, const Source& source, Findings& findings) {
    const auto name = module_name(layer);
    const auto partition = name + ":" + source.stem();
    const auto [text, line] = module_line(source);
    std::set<std::string> allowed{"module " + partition};
    if (source.extension() == ".cpp")
        allowed.insert("module " + name);
    else if (source.stem() == layer.name)
        allowed = {"export module " + name};
    else
        allowed.insert("export module " + partition);
    if (!allowed.contains(text))
        findings.push_back({source.path, line, "say '" + *allowed.begin() + ";' here"});
}

void check_primary(const Layer& layer, const Source& primary, Findings& findings) {
    if (!primary.text.starts_with("///"))
        findings.push_back(
            {primary.path, 1, "open with a /// on purpose, invariants, diagnostics and source"});
    const auto code = code_of(primary.text);
    for (const auto& source : layer.sources) {
        const auto partition = ":" + source.stem();
        const bool exported =
            module_line(source).text == "export module " + module_name(layer) + partition;
        if (exported && code.find("import " + partition + ";") == code.npos)
            findings.push_back({primary.path, 1, "export import " + partition + ";"});
    }
}

}  // namespace

Findings check_layout(const Layer& layer) {
    Findings findings;
    const auto target = layer_target(layer.cmake.text);
    if (target.name != layer.name)
        findings.push_back({layer.cmake.path, 1, "call ringfort_layer(" + layer.name + " ...)"});
    bool has_primary = false;
    for (const auto& source : layer.sources) {
        check_module_line(layer, source, findings);
        const auto file = source.stem() + source.extension();
        if (!target.files.contains(file))
            findings.push_back({source.path, 1, "list " + file + " in " + layer.cmake.path});
        if (file == layer.name + ".cppm") {
            has_primary = true;
            check_primary(layer, source, findings);
        }
    }
    if (!has_primary)
        findings.push_back(
            {layer.cmake.path, 1, "add the primary interface " + layer.name + ".cppm"});
    return findings;
}

Findings check_test_name(const Source& test, const std::set<std::string>& concepts) {
    static constexpr std::string_view suffix = "_test";
    const auto stem = test.stem();
    if (!stem.ends_with(suffix)) return {};
    const auto subject = stem.substr(0, stem.size() - suffix.size());
    if (subject == test.folder() || concepts.contains(subject)) return {};
    // One aspect of a concept may have a file of its own: endpoint_hostile_test.cpp.
    for (const auto& name : concepts)
        if (subject.starts_with(name + "_")) return {};
    return {{test.path, 1,
             "name this test after a file of modules/" + test.folder() + " or the layer itself"}};
}

}  // namespace tidy
