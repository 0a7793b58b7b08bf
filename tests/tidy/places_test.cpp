#include "places.h"

#include <catch2/catch_test_macros.hpp>

TEST_CASE("a path of one machine is found") {
    CHECK(text(tidy::check_places({"README.md",
                                   "see\n`/wo"
                                   "rk/main`\n"})) ==
          "README.md:2: remove this machine's path /wo"
          "rk/\n");
    CHECK(tidy::check_places({"a",
                              "/ro"
                              "ot/x"})
              .size() == 1);
}

TEST_CASE("a folder of our own with such a name is no machine's path") {
    CHECK(tidy::check_places({"a",
                              "docs/wo"
                              "rk/x and ./wo"
                              "rk/x and ${DIR}/wo"
                              "rk/"})
              .empty());
    CHECK(tidy::check_places({"a", "unix:/run/x.sock and /tmp/x"}).empty());
}

TEST_CASE("a package host is found") {
    CHECK(text(tidy::check_places({"x",
                                   "http://deb.debian"
                                   ".org/debian"})) ==
          "x:1: remove the package host deb.debian"
          ".org\n");
}

TEST_CASE("a note of unfinished work is found, a word that contains one is not") {
    CHECK(text(tidy::check_unfinished({"a.cpp",
                                       "// TO"
                                       "DO later"})) ==
          "a.cpp:1: finish this or file an issue: TO"
          "DO\n");
    CHECK(tidy::check_unfinished({"a.cpp",
                                  "mkstemp(\"/tmp/aXX"
                                  "XXXX\")"})
              .empty());
}
