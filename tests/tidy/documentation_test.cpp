#include "documentation.h"

#include <catch2/catch_test_macros.hpp>

namespace {

/// Returns what is found in an exported namespace with this content, a line each.
std::string found(std::string_view content) {
    return text(tidy::check_documentation(
        {"a.cppm", "export namespace a {\n" + std::string{content} + "\n}\n"}));
}

}  // namespace

TEST_CASE("an exported name without a comment is found") {
    CHECK(found("int f();") == "a.cppm:2: document f with a ///\n");
    CHECK(found("\nclass A {\n};") == "a.cppm:3: document A with a ///\n");
    CHECK(found("enum class E { a };") == "a.cppm:2: document E with a ///\n");
    CHECK(found("using A = int;") == "a.cppm:2: document A with a ///\n");
    CHECK(found("inline constexpr int a = 1;") ==
          "a.cppm:2: document inline constexpr int a = 1; with a ///\n");
    CHECK(found("template <class T>\nvoid f(T t) {\n}") == "a.cppm:2: document f with a ///\n");
    CHECK(found("template <class T>\nconcept C = true;") == "a.cppm:2: document C with a ///\n");
    CHECK(found("// An ordinary comment.\nint f();") == "a.cppm:3: document f with a ///\n");
}

TEST_CASE("a comment above or behind covers its declaration") {
    CHECK(found("/// Does it.\nint f();").empty());
    CHECK(found("inline constexpr int a = 1;  ///< why").empty());
    CHECK(found("/// Is one.\ntemplate <class T>\nclass A {\n};").empty());
}

TEST_CASE("a comment covers the short declarations below it until an empty line") {
    CHECK(found("/// Both.\nint f();\nint g();").empty());
    CHECK(found("/// One.\nint f();\n\nint g();") == "a.cppm:5: document g with a ///\n");
    CHECK(found("/// One.\nint f();\n// Other.\nint g();") == "a.cppm:5: document g with a ///\n");
    CHECK(
        found(
            "/// One.\nstruct A {\n    int a;\n    int b;\n    int c;\n    int d;\n};\nint g();") ==
        "a.cppm:9: document g with a ///\n");
}

TEST_CASE("a public function of an exported class needs a comment, a private one does not") {
    CHECK(found("/// Is.\nclass A {\npublic:\n    int f();\n\nprivate:\n    int g();\n};") ==
          "a.cppm:5: document f with a ///\n");
    CHECK(found("/// Is.\nstruct A {\n    int data = 0;\n};").empty());
}

TEST_CASE("what explains itself needs no comment") {
    CHECK(
        found(
            "/// Is.\nclass A {\npublic:\n    A();\n    explicit A(int a) : a_{a} {}\n    ~A();\n\n"
            "    A& operator=(A&&);\n\n    friend bool operator==(A, A);\n\n"
            "    explicit operator bool() const;\n\n    void f() = delete;\n\n"
            "    bool await_ready();\n};")
            .empty());
    CHECK(found("class Forward;").empty());
    CHECK(found("template <>\nstruct Codec<bool> {\n    int f();\n};").empty());
    CHECK(found("template <class T>\nclass A : B<A<T>> {\n};") ==
          "a.cppm:2: document A with a ///\n");
    CHECK(found("template <class T>\nclass Task<T>::promise_type : P {\npublic:\n    int f();\n};")
              .empty());
    CHECK(found("static_assert(true);").empty());
    CHECK(found("using std::string, std::operator==;").empty());
    CHECK(found("using ::operator new;").empty());
    CHECK(found("using Alias = std::string;") == "a.cppm:2: document Alias with a ///\n");
    CHECK(found("template <class T>\nA(T) -> A<T>;").empty());
    CHECK(found("namespace detail {\nint f();\n}").empty());
}

TEST_CASE("what is not exported needs no comment") {
    CHECK(tidy::check_documentation({"a.cppm", "namespace a {\nint f();\n}\n"}).empty());
    CHECK(tidy::check_documentation({"a.cppm", "namespace a {\nexport int f();\n}\n"}).size() == 1);
    CHECK(tidy::check_documentation({"a.cppm", "export module a;\nexport import :b;\n"}).empty());
}
