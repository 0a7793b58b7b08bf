#include <catch2/catch_test_macros.hpp>
#include <regex>
#include <string>

#include "files.h"

namespace {

TEST_CASE("docs/reference/messages.md has every message, numbered as on the wire") {
    const std::string source = e2e::read_file(RINGFORT_SOURCE_DIR "/modules/channel/message.cppm");
    const std::string page = e2e::read_file(RINGFORT_SOURCE_DIR "/docs/reference/messages.md");
    const auto begin = source.find("std::variant<") + std::string{"std::variant<"}.size();
    const std::string list = source.substr(begin, source.find(">;", begin) - begin);
    const std::regex word{R"([A-Za-z]+)"};
    int number = 0;
    for (std::sregex_iterator match{list.begin(), list.end(), word}, end; match != end; ++match) {
        const std::string type = match->str();
        const std::regex kind{"struct " + type +
                              R"re( \{\s*static constexpr Kind kind\{"([a-z_]+)")re"};
        std::smatch found;
        REQUIRE(std::regex_search(source, found, kind));
        const std::string row = "\n| " + std::to_string(++number) + " | `" + found[1].str() + "` |";
        INFO("a row of docs/reference/messages.md should begin with" << row);
        CHECK(page.find(row) != page.npos);
    }
    CHECK(number > 0);
}

}  // namespace
