#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "files.h"

namespace {

/// Returns the constants of limits.cppm: name, and value as it is written there.
std::vector<std::pair<std::string, std::string>> constants() {
    std::string text = e2e::read_file(RINGFORT_SOURCE_DIR "/modules/base/limits.cppm");
    const std::regex constant{
        R"(inline constexpr [A-Za-z_:0-9]+ ([a-z_]+)(?:\s*=\s*([^;]+)|\{\s*([^}]+)\});)"};
    std::vector<std::pair<std::string, std::string>> found;
    for (std::sregex_iterator match{text.begin(), text.end(), constant}, end; match != end; ++match)
        found.emplace_back((*match)[1], (*match)[2].matched ? (*match)[2] : (*match)[3]);
    return found;
}

TEST_CASE("docs/reference/limits.md has every limit with its value") {
    const auto all = constants();
    std::string text = e2e::read_file(RINGFORT_SOURCE_DIR "/modules/base/limits.cppm");
    std::size_t declared = 0;
    for (auto at = text.find("inline constexpr "); at != text.npos;
         at = text.find("inline constexpr ", at + 1))
        ++declared;
    REQUIRE(all.size() == declared);
    const std::string page = e2e::read_file(RINGFORT_SOURCE_DIR "/docs/reference/limits.md");
    for (const auto& [name, value] : all) {
        const std::string row = "\n| `" + name + "` | `" + value + "` |";
        INFO("a row of docs/reference/limits.md should begin with" << row);
        CHECK(page.find(row) != page.npos);
    }
}

TEST_CASE("docs/reference/limits.md has no limit that is gone") {
    const auto all = constants();
    const std::string page = e2e::read_file(RINGFORT_SOURCE_DIR "/docs/reference/limits.md");
    const std::regex row{R"(\n\| `([a-z_]+)` \| `)"};
    std::size_t rows = 0;
    for (std::sregex_iterator match{page.begin(), page.end(), row}, end; match != end; ++match) {
        ++rows;
        const std::string name = (*match)[1];
        INFO(name);
        CHECK(std::find_if(all.begin(), all.end(),
                           [&](const auto& one) { return one.first == name; }) != all.end());
    }
    CHECK(rows == all.size());
}

}  // namespace
