#include "source.h"

#include <catch2/catch_test_macros.hpp>

TEST_CASE("comments, literals and preprocessor lines are blanked, places are kept") {
    CHECK(tidy::code_of("int a;  // b {\nint c;") == "int a;        \nint c;");
    CHECK(tidy::code_of("f(/* { */ 1);") == "f(        1);");
    CHECK(tidy::code_of("f(\"a{\\\"b\", '{');") == "f(\"     \", ' ');");
    CHECK(tidy::code_of("#define X { \\\n  }\nint a;") == "             \n   \nint a;");
    CHECK(tidy::code_of("auto s = R\"x(\" { )x\";") == "auto s =            ;");
}

TEST_CASE("an apostrophe between digits begins no literal") {
    CHECK(tidy::code_of("int a = 30'000; int b{4'096};") == "int a = 30'000; int b{4'096};");
}

TEST_CASE("paths are taken apart") {
    const tidy::Source source{"modules/net/stream.cppm", ""};
    CHECK(source.folder() == "net");
    CHECK(source.stem() == "stream");
    CHECK(source.extension() == ".cppm");
    CHECK(tidy::Source{"x", ""}.folder().empty());
    CHECK(tidy::Source{"x", ""}.extension().empty());
}

TEST_CASE("a word is found only when it stands alone") {
    CHECK(tidy::has_word("a friend of", "friend"));
    CHECK(!tidy::has_word("befriended", "friend"));
    CHECK(!tidy::has_word("friend_count", "friend"));
}

TEST_CASE("findings are printed one a line") {
    CHECK(text(tidy::Findings{{"a/b.cpp", 3, "do this"}, {"c", 1, "and that"}}) ==
          "a/b.cpp:3: do this\nc:1: and that\n");
}
