#include "imports.h"

#include <catch2/catch_test_macros.hpp>

namespace {

tidy::Layer layer(std::string name, std::string cmake, std::string interface,
                  std::string body = "") {
    const auto folder = "modules/" + name + "/";
    return {name,
            {folder + "CMakeLists.txt", std::move(cmake)},
            {{folder + name + ".cppm", std::move(interface)}, {folder + "a.cpp", std::move(body)}}};
}

}  // namespace

TEST_CASE("imports are found, comments are not") {
    const auto found = tidy::imports_of(
        {"a.cpp",
         "// import ringfort.net;\nimport ringfort.base;\nexport import ringfort.coro;\n"
         "import :part;\nimport other.base;\nimportant ringfort.shm;\n"});
    REQUIRE(found.size() == 2);
    CHECK((found[0].layer == "base" && found[0].line == 2));
    CHECK((found[1].layer == "coro" && found[1].line == 3));
}

TEST_CASE("a layer's CMakeLists.txt is parsed") {
    const auto target = tidy::layer_target(R"(
ringfort_layer(net # a comment with ringfort::shm
  INTERFACES net.cppm stream.cppm
  SOURCES stream.cpp
  LINKS ringfort::base fmt::fmt
  PRIVATE_LINKS ringfort::uring)
target_link_libraries(ringfort_net PUBLIC ringfort::coro)
)");
    CHECK(target.name == "net");
    CHECK(target.files == std::set<std::string>{"net.cppm", "stream.cpp", "stream.cppm"});
    CHECK(target.links == std::set<std::string>{"base"});
    CHECK(target.private_links == std::set<std::string>{"uring"});
    CHECK(target.stray_links == std::set<std::string>{"coro"});
}

TEST_CASE("imports that equal the links are fine") {
    CHECK(check_imports(
              layer("uring",
                    "ringfort_layer(uring LINKS ringfort::base PRIVATE_LINKS ringfort::coro)",
                    "import ringfort.base;", "import ringfort.coro;"))
              .empty());
}

TEST_CASE("an import without a link is found") {
    CHECK(text(check_imports(layer("uring", "ringfort_layer(uring LINKS ringfort::base)",
                                   "import ringfort.base;", "\nimport ringfort.coro;"))) ==
          "modules/uring/a.cpp:2: add ringfort::coro to LINKS or PRIVATE_LINKS in "
          "modules/uring/CMakeLists.txt\n");
}

TEST_CASE("an interface's import needs a public link") {
    CHECK(text(check_imports(layer("shm", "ringfort_layer(shm PRIVATE_LINKS ringfort::base)",
                                   "import ringfort.base;"))) ==
          "modules/shm/shm.cppm:1: add ringfort::base to LINKS in modules/shm/CMakeLists.txt\n");
}

TEST_CASE("a link that nothing imports is found") {
    CHECK(text(check_imports(layer("uring",
                                   "ringfort_layer(uring LINKS ringfort::base ringfort::coro)",
                                   "import ringfort.base;"))) ==
          "modules/uring/CMakeLists.txt:1: remove the link to ringfort::coro: nothing in uring "
          "imports it\n");
}

TEST_CASE("a link outside of ringfort_layer is found") {
    CHECK(text(check_imports(
              layer("base", "ringfort_layer(base)\nf(ringfort_base ringfort::shm)", ""))) ==
          "modules/base/CMakeLists.txt:1: link ringfort::shm in the call of ringfort_layer only\n");
}

TEST_CASE("an import against the floors is found") {
    CHECK(text(check_imports(layer("coro", "ringfort_layer(coro LINKS ringfort::uring)",
                                   "import ringfort.uring;"))) ==
          "modules/coro/coro.cppm:1: do not import ringfort.uring: coro may import base, std\n");
}

TEST_CASE("an interface that includes the standard library's headers is found") {
    const std::string includes = "#include <sys/types.h>\n#include <vector>  // a.h\n";
    CHECK(text(tidy::check_includes({"apps/echo/echo.cppm", includes})) ==
          "apps/echo/echo.cppm:2: import ringfort.std; here: interfaces include no header of the "
          "standard library\n");
    CHECK(tidy::check_includes({"apps/echo/echo.cpp", includes}).empty());
    CHECK(tidy::check_includes({"modules/std/std.cppm", includes}).empty());
}

TEST_CASE("a layer without a floor is found") {
    CHECK(check_imports(layer("attic", "ringfort_layer(attic)", "")).size() == 1);
}

TEST_CASE("the floors have no circle") {
    for (const auto& [name, below] : tidy::floors())
        for (const auto& lower : below) {
            INFO(name << " -> " << lower);
            REQUIRE(tidy::floors().contains(lower));
            CHECK(!tidy::floors().at(lower).contains(name));
            CHECK(lower != name);
        }
}

TEST_CASE("master and worker know nothing of each other, and the master nothing of the ring") {
    for (const auto* name : {"coro", "uring", "net", "worker"})
        CHECK(!tidy::floors().at("master").contains(name));
    for (const auto* name : {"master", "process", "cycle"})
        CHECK(!tidy::floors().at("worker").contains(name));
}
