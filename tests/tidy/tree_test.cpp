// Runs every check on the source tree this was built from.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "citations.h"
#include "clocks.h"
#include "documentation.h"
#include "imports.h"
#include "layout.h"
#include "places.h"
#include "sizes.h"

namespace {

namespace fs = std::filesystem;
using tidy::Findings;
using tidy::Source;

const fs::path root{RINGFORT_SOURCE_DIR};

Source read(const std::string& path) {
    std::ifstream file{root / path, std::ios::binary};
    std::ostringstream text;
    text << file.rdbuf();
    return {path, text.str()};
}

bool is_cpp(const Source& source) {
    const auto extension = source.extension();
    return extension == ".cpp" || extension == ".cppm" || extension == ".h" ||
           extension == ".hpp" || extension == ".c";
}

/// Names the files as git knows them: tracked, or new and not ignored.
std::vector<std::string> names_from_git() {
    // The tree may belong to somebody else, as when root runs the tests.
    const auto command = "git -c safe.directory='*' -C '" + root.string() +
                         "' ls-files -z --cached --others --exclude-standard 2>/dev/null";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return {};
    std::vector<std::string> names(1);
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
        if (c == 0)
            names.emplace_back();
        else
            names.back() += static_cast<char>(c);
    }
    names.pop_back();
    return ::pclose(pipe) == 0 ? names : std::vector<std::string>{};
}

/// Names every file of a tree without git, such as an unpacked archive.
std::vector<std::string> names_from_folders() {
    std::vector<std::string> names;
    for (const auto* top : {"apps", "docs", "modules", "tests", "third_party"})
        for (const auto& entry : fs::recursive_directory_iterator{root / top})
            if (entry.is_regular_file())
                names.push_back(fs::relative(entry.path(), root).generic_string());
    return names;
}

const std::vector<Source>& tree() {
    static const auto sources = [] {
        auto names = names_from_git();
        if (names.empty()) names = names_from_folders();
        std::vector<Source> all;
        for (const auto& name : names) {
            if (!fs::is_regular_file(root / name)) continue;  // deleted, not yet committed
            auto source = read(name);
            if (source.text.find('\0') == std::string::npos) all.push_back(std::move(source));
        }
        return all;
    }();
    return sources;
}

/// Returns the layers by name, with their sources.
std::map<std::string, tidy::Layer> layers() {
    std::map<std::string, tidy::Layer> found;
    for (const auto& source : tree()) {
        if (source.path !=
            "modules/" + source.folder() + "/" + source.path.substr(source.path.rfind('/') + 1))
            continue;
        auto& layer = found[source.folder()];
        layer.name = source.folder();
        if (source.path.ends_with("/CMakeLists.txt")) layer.cmake = source;
        if (source.extension() == ".cppm" || source.extension() == ".cpp")
            layer.sources.push_back(source);
    }
    return found;
}

/// Runs a check on every C++ file below one of the folders.
template <class Check>
Findings on_cpp(std::initializer_list<std::string_view> folders, Check check) {
    Findings findings;
    for (const auto& source : tree())
        for (const auto folder : folders)
            if (is_cpp(source) && source.path.starts_with(folder)) append(findings, check(source));
    return findings;
}

/// Prints the findings itself: Catch would wrap the lines.
void require_none(const Findings& findings) {
    std::cerr << text(findings);
    if (!findings.empty()) FAIL(findings.size() << " to put right, listed above");
    SUCCEED();
}

}  // namespace

TEST_CASE("the checks see the whole tree") {
    const auto found = layers();
    for (const auto& [name, below] : tidy::floors()) {
        INFO(name);
        REQUIRE(found.contains(name));
        CHECK(!found.at(name).sources.empty());
        CHECK(!found.at(name).cmake.text.empty());
    }
}

TEST_CASE("imports equal direct links and obey the floors") {
    Findings findings;
    for (const auto& [name, layer] : layers()) append(findings, check_imports(layer));
    require_none(findings);
}

TEST_CASE("interfaces include no header of the standard library") {
    require_none(on_cpp({"modules/", "apps/", "tests/"}, tidy::check_includes));
}

TEST_CASE("module names follow folders and files") {
    Findings findings;
    for (const auto& [name, layer] : layers()) append(findings, check_layout(layer));
    require_none(findings);
}

TEST_CASE("files, functions and lines keep their limits") {
    auto findings = on_cpp({"modules/", "apps/"}, tidy::check_file_length);
    append(findings, on_cpp({"modules/", "apps/"}, tidy::check_function_lengths));
    append(findings, on_cpp({"modules/", "apps/", "tests/"}, tidy::check_columns));
    append(findings, on_cpp({"modules/", "apps/", "tests/"}, tidy::check_file_name));
    require_none(findings);
}

TEST_CASE("exported names are documented") {
    require_none(on_cpp({"modules/"}, [](const Source& source) {
        return source.extension() == ".cppm" ? check_documentation(source) : Findings{};
    }));
}

TEST_CASE("tests are named after what they test") {
    Findings findings;
    const auto found = layers();
    for (const auto& source : tree()) {
        const auto layer = found.find(source.folder());
        if (!source.path.starts_with("tests/") || layer == found.end()) continue;
        std::set<std::string> concepts;
        for (const auto& file : layer->second.sources) concepts.insert(file.stem());
        append(findings, check_test_name(source, concepts));
    }
    require_none(findings);
}

TEST_CASE("nothing but the dates in the log comes from the wall clock") {
    require_none(on_cpp({"modules/", "apps/"}, tidy::check_clocks));
}

TEST_CASE("every test that a document cites exists") {
    std::set<std::string> titles;
    for (const auto& source : tree())
        if (source.path.starts_with("tests/") && is_cpp(source)) titles.merge(test_titles(source));
    Findings findings;
    for (const auto& source : tree())
        if (source.path == "docs/reference/parity.md")
            append(findings, check_citations(source, titles));
    require_none(findings);
}

TEST_CASE("no machine's path and no package host is written down") {
    Findings findings;
    for (const auto& source : tree()) append(findings, check_places(source));
    require_none(findings);
}

TEST_CASE("nothing in modules and apps is left unfinished") {
    require_none(on_cpp({"modules/", "apps/"}, tidy::check_unfinished));
}
