#include "sizes.h"

#include <catch2/catch_test_macros.hpp>

namespace {

std::string repeated(std::string_view line, std::size_t times) {
    std::string all;
    for (std::size_t i = 0; i < times; ++i) all += line;
    return all;
}

/// Returns a function of so many lines, inside a class inside a namespace.
std::string function_of(std::size_t lines) {
    return "namespace a {\nclass A {\n    int f() {\n" +
           repeated("        if (x) { y({1}); }\n", lines - 2) + "    }\n};\n}\n";
}

}  // namespace

TEST_CASE("a file over the limit is found, one at the limit is not") {
    CHECK(tidy::check_file_length({"a.cpp", repeated("\n", 400)}).empty());
    CHECK(text(tidy::check_file_length({"a.cpp", repeated("\n", 401)})) ==
          "a.cpp:401: split this file: its 401 lines are over 400\n");
}

TEST_CASE("a function over the limit is found, one at the limit is not") {
    CHECK(tidy::check_function_lengths({"a.cpp", function_of(70)}).empty());
    CHECK(text(tidy::check_function_lengths({"a.cpp", function_of(71)})) ==
          "a.cpp:3: split f: its 71 lines are over 70\n");
}

TEST_CASE("a function's length is counted from a head of several lines on") {
    const auto body = repeated("    x();\n", 67);
    CHECK(tidy::check_function_lengths({"a.cpp", "void f(int a,\n       int b) {\n" + body + "}\n"})
              .empty());
    CHECK(tidy::check_function_lengths(
              {"a.cpp", "void f(int a,\n       int b) {\n    x();\n" + body + "}\n"})
              .size() == 1);
}

TEST_CASE("a line over the limit is found, counted in characters rather than bytes") {
    CHECK(tidy::check_columns({"a.cpp", repeated("x", 100)}).empty());
    CHECK(tidy::check_columns({"a.cpp", repeated("\u00e9", 100)}).empty());
    CHECK(text(tidy::check_columns({"a.cpp", "\n" + repeated("x", 101)})) ==
          "a.cpp:2: break this line: its 101 columns are over 100\n");
}

TEST_CASE("a file name that says nothing is found") {
    CHECK(tidy::check_file_name({"modules/net/utils.cpp", ""}).size() == 1);
    CHECK(tidy::check_file_name({"modules/net/string_utils.cpp", ""}).size() == 1);
    CHECK(tidy::check_file_name({"modules/net/common_types.h", ""}).size() == 1);
    CHECK(tidy::check_file_name({"modules/net/commons.cpp", ""}).empty());
}
