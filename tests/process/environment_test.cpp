#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

using namespace ringfort;

namespace {

std::string whole() {
    std::string text;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
        text += std::string{*entry} + ";";
    return text;
}

void begin_with_three() {
    ::clearenv();
    ::setenv("ONE", "1", 1);
    ::setenv("TWO", "=2=", 1);
    ::setenv("THREE", "", 1);
}

}  // namespace

TEST_CASE("an environment is reduced to what is named, and to what is set beside that") {
    CHECK(in_child([] {
              begin_with_three();
              const auto taken = process::Environment::current();
              const auto kept = taken.keep_only({"TWO", "ABSENT", "THREE", "TZ=UTC", "EMPTY="});
              return kept ? whole() : kept.error().text();
          }) == "TWO==2=;THREE=;TZ=UTC;EMPTY=;");
}

TEST_CASE("a variable that was set away and one that was left out are there for the next") {
    CHECK(in_child([] {
              begin_with_three();
              const auto taken = process::Environment::current();
              (void)taken.keep_only({"ONE=other"});
              const std::string first = whole();
              (void)taken.keep_only({"ONE", "TWO"});
              const std::string second = whole();
              (void)taken.keep_only({});
              const std::string none = whole();
              (void)taken.restore();
              return first + "|" + second + "|" + none + "|" + whole();
          }) == "ONE=other;|ONE=1;TWO==2=;||ONE=1;TWO==2=;THREE=;");
}

TEST_CASE("an environment that was never reduced is not touched by being restored") {
    CHECK(in_child([] {
              begin_with_three();
              const auto taken = process::Environment::current();
              ::setenv("LATER", "4", 1);
              (void)taken.restore();
              return whole();
          }) == "ONE=1;TWO==2=;THREE=;LATER=4;");
}

TEST_CASE("an entry without a name is refused") {
    CHECK(in_child([] {
              const auto kept = process::Environment::current().keep_only({"=x"});
              return kept ? std::string{"kept"} : kept.error().text();
          }) == "setenv: Invalid argument");
}
