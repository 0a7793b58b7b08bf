#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "files.h"

import echo;
import proxy;
import ringfort;

namespace {

constexpr std::string_view begin_mark = "<!-- generated services: begin -->\n";
constexpr std::string_view end_mark = "<!-- generated services: end -->\n";

TEST_CASE("docs/reference/config.md says what the schemas of echo and proxy say") {
    ringfort::config::Registry registry;
    registry.add<Echo::Config>(std::string{Echo::name}, Echo::schema());
    registry.add<Proxy::Config>(std::string{Proxy::name}, Proxy::schema());
    const std::string all = ringfort::config::reference(registry);
    const auto services = all.find("## `[service.");
    REQUIRE(services != all.npos);
    const std::string generated = "\n" + all.substr(services) + "\n";

    const char* path = RINGFORT_SOURCE_DIR "/docs/reference/config.md";
    const std::string page = e2e::read_file(path);
    const auto begin = page.find(begin_mark);
    const auto end = page.find(end_mark);
    REQUIRE(begin != page.npos);
    REQUIRE(end != page.npos);
    const auto first = begin + begin_mark.size();
    if (std::getenv("RINGFORT_UPDATE_DOCS") != nullptr) {
        std::ofstream{path} << page.substr(0, first) << generated << page.substr(end);
    } else {
        INFO("to write it anew, run this test with RINGFORT_UPDATE_DOCS=1 in the environment");
        CHECK(page.substr(first, end - first) == generated);
    }
}

}  // namespace
