#include "layout.h"

#include <catch2/catch_test_macros.hpp>

namespace {

const tidy::Source cmake{"modules/shm/CMakeLists.txt",
                         "ringfort_layer(shm INTERFACES shm.cppm zone.cppm SOURCES zone.cpp)"};
const tidy::Source primary{"modules/shm/shm.cppm",
                           "/// Memory.\nexport module ringfort.shm;\nexport import :zone;\n"};
const tidy::Source zone{"modules/shm/zone.cppm", "module;\nexport module ringfort.shm:zone;\n"};
const tidy::Source body{"modules/shm/zone.cpp", "module ringfort.shm;\n"};

std::string found(std::vector<tidy::Source> sources) {
    return text(tidy::check_layout({"shm", cmake, std::move(sources)}));
}

}  // namespace

TEST_CASE("a layer laid out by the rules is fine") {
    CHECK(found({primary, zone, body}).empty());
}

TEST_CASE("a module or partition with another name than its file is found") {
    CHECK(found({primary, {zone.path, "export module ringfort.shm:zones;\n"}, body}) ==
          "modules/shm/zone.cppm:1: say 'export module ringfort.shm:zone;' here\n");
    CHECK(found({primary, zone, {body.path, "\nmodule ringfort.channel;\n"}}) ==
          "modules/shm/zone.cpp:2: say 'module ringfort.shm;' here\n");
    CHECK(found({{primary.path, "/// Memory.\nexport module shm;\nexport import :zone;"},
                 zone,
                 body}) == "modules/shm/shm.cppm:2: say 'export module ringfort.shm;' here\n");
}

TEST_CASE("an internal partition keeps to its file's name") {
    CHECK(found({{primary.path, "/// Memory.\nexport module ringfort.shm;\n"},
                 {zone.path, "module ringfort.shm:zone;\n"},
                 body})
              .empty());
}

TEST_CASE("a partition that the primary interface leaves out is found") {
    CHECK(found({{primary.path, "/// Memory.\nexport module ringfort.shm;\n"}, zone, body}) ==
          "modules/shm/shm.cppm:1: export import :zone;\n");
}

TEST_CASE("a file missing in CMakeLists.txt is found") {
    CHECK(found({primary, zone, body, {"modules/shm/slab.cpp", "module ringfort.shm;\n"}}) ==
          "modules/shm/slab.cpp:1: list slab.cpp in modules/shm/CMakeLists.txt\n");
}

TEST_CASE("a primary interface without a header comment, or none at all, is found") {
    CHECK(
        found({{primary.path, "export module ringfort.shm;\nexport import :zone;\n"}, zone}) ==
        "modules/shm/shm.cppm:1: open with a /// on purpose, invariants, diagnostics and source\n");
    CHECK(found({zone}) == "modules/shm/CMakeLists.txt:1: add the primary interface shm.cppm\n");
}

TEST_CASE("the facade's module is called like the whole") {
    CHECK(tidy::check_layout(
              {"ringfort",
               {"modules/ringfort/CMakeLists.txt",
                "ringfort_layer(ringfort INTERFACES ringfort.cppm)"},
               {{"modules/ringfort/ringfort.cppm", "/// All.\nexport module ringfort;\n"}}})
              .empty());
}

TEST_CASE("a test that mirrors nothing is found") {
    CHECK(tidy::check_test_name({"tests/shm/zone_test.cpp", ""}, {"zone"}).empty());
    CHECK(tidy::check_test_name({"tests/shm/shm_test.cpp", ""}, {"zone"}).empty());
    CHECK(tidy::check_test_name({"tests/shm/zone_damage_test.cpp", ""}, {"zone"}).empty());
    CHECK_FALSE(tidy::check_test_name({"tests/shm/zonedamage_test.cpp", ""}, {"zone"}).empty());
    CHECK(tidy::check_test_name({"tests/shm/samples.h", ""}, {"zone"}).empty());
    CHECK(text(tidy::check_test_name({"tests/shm/other_test.cpp", ""}, {"zone"})) ==
          "tests/shm/other_test.cpp:1: name this test after a file of modules/shm or the layer "
          "itself\n");
}
