#include "declarations.h"

#include <catch2/catch_test_macros.hpp>

#include "source.h"

using tidy::Kind;

namespace {

std::vector<tidy::Declaration> parse(std::string_view text) {
    return tidy::declarations_of(tidy::code_of(text));
}

}  // namespace

TEST_CASE("functions, types and variables are told apart and named") {
    const auto found = parse(R"code(
int plain(int a);
[[nodiscard]] std::vector<int> attributed(std::function<void(int)> f) noexcept {
    return {};
}
template <class T>
    requires std::same_as<T, int> && (!std::same_as<T, char>)
T constrained(T value);
class Forward;
struct [[nodiscard("why (really)")]] alignas(64) Type final : Base<int> {
    int a = 0;
} instance;
enum class Level : int { low, high };
inline constexpr Milliseconds timeout{30'000};
using Alias = int (*)(int);
)code");
    REQUIRE(found.size() == 8);
    CHECK((found[0].kind == Kind::function && found[0].name == "plain" && !found[0].has_body));
    CHECK((found[1].name == "attributed" && found[1].first == 3 && found[1].last == 5));
    CHECK((found[1].kind == Kind::function && found[1].has_body));
    CHECK((found[2].kind == Kind::function && found[2].name == "constrained"));
    CHECK((found[3].kind == Kind::type && found[3].name == "Forward" && !found[3].has_body));
    CHECK((found[4].kind == Kind::type && found[4].name == "Type" && found[4].has_body));
    CHECK((found[5].kind == Kind::type && found[5].name == "Level"));
    CHECK(found[6].kind == Kind::other);
    CHECK(found[7].kind == Kind::other);
}

TEST_CASE("members know whether they are public") {
    const auto found =
        parse("class A {\n    int f();\npublic:\n    int g();\nprivate:\n    int h();\n};");
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].members.size() == 3);
    CHECK(!found[0].members[0].is_public);
    CHECK(found[0].members[1].is_public);
    CHECK(!found[0].members[2].is_public);
    CHECK(parse("struct A {\n    int f();\n};")[0].members[0].is_public);
}

TEST_CASE("braces in initializers and requirements do not end a declaration") {
    const auto found = parse(R"(
A::A(int a) noexcept : a_{a}, b_{
    1} {
    use();
}
template <class T>
concept Reader = requires(T t) { t.read(); };
template <class T>
    requires requires(T t) { t.x(); }
void f(T t) {
}
constexpr int table[] = {1, 2};
)");
    REQUIRE(found.size() == 4);
    CHECK((found[0].name == "A" && found[0].first == 2 && found[0].last == 5));
    CHECK(found[1].kind == Kind::other);
    CHECK((found[2].name == "f" && found[2].first == 8 && found[2].last == 11));
    CHECK(found[3].kind == Kind::other);
}

TEST_CASE("namespaces are entered, functions are not") {
    const auto found = parse("export namespace a::b {\nvoid f() {\n    int x;\n}\n}\nint y;");
    REQUIRE(found.size() == 2);
    CHECK((found[0].kind == Kind::name_space && found[0].name == "a::b"));
    REQUIRE(found[0].members.size() == 1);
    CHECK((found[0].members[0].name == "f" && found[0].members[0].members.empty()));
    CHECK(found[0].last == 5);
}
