#include "citations.h"

#include <catch2/catch_test_macros.hpp>

TEST_CASE("the titles of tests are found, continued ones too") {
    const auto titles = tidy::test_titles({"a_test.cpp",
                                           "TEST_CA"
                                           "SE(\"one \\\"two\\\"\") {\n}\nTEST_CA"
                                           "SE(\n    \"three \"\n    \"four\") {\n"});
    CHECK(titles == std::set<std::string>{"one \"two\"", "three four"});
}

TEST_CASE("a citation of a test that does not exist is found, any other text is not") {
    const std::set<std::string> titles{"it works", "so does this"};
    CHECK(tidy::check_citations({"d.md", "| A | \"auto\" | \"it works\", \"so does this\" |\n"},
                                titles)
              .empty());
    CHECK(tidy::check_citations({"d.md", "says \"auto\"\n|---|---|\n| A | |\n"}, titles).empty());
    CHECK(text(tidy::check_citations({"d.md", "\n| A | \"it works\", \"not this\" |\n"}, titles)) ==
          "d.md:2: no test is called: not this\n");
}
