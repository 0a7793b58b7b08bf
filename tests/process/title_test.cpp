#include <catch2/catch_test_macros.hpp>

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.h"
#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort::process;

std::string shown() {
    std::string text = read_file("/proc/self/cmdline");
    while (text.ends_with('\0')) text.pop_back();
    return text;
}

/// Each body runs in a fresh child: the test process's own argv stays as it is.
template <class Body>
std::string with_title(Body body) {
    return in_child([&]() -> std::string {
        Title::prepare(program_arguments.count, program_arguments.values);
        return body();
    });
}

}  // namespace

TEST_CASE("a title replaces the whole command line") {
    CHECK(with_title([] {
              Title::set("echo: worker 3 (generation 2)");
              return shown();
          }) == "echo: worker 3 (generation 2)");
}

TEST_CASE("a shorter title leaves nothing of a longer one, and a longer one follows") {
    const std::string longer(200, 'x');
    CHECK(with_title([&] {
              std::string all;
              for (const std::string& title : {longer, std::string{"short"}, longer}) {
                  Title::set(title);
                  all += shown() + "|";
              }
              return all;
          }) == longer + "|short|" + longer + "|");
}

TEST_CASE("a title longer than its room is cut") {
    const std::string endless(1 << 20, 'y');
    const std::string text = with_title([&] {
        Title::set(endless);
        return shown();
    });
    CHECK(text.size() > std::strlen(program_arguments.values[0]));
    CHECK(text.size() < endless.size());
    CHECK(text.find_first_not_of('y') == text.npos);
}

TEST_CASE("arguments and environment are intact after titles were set") {
    CHECK(with_title([]() -> std::string {
              std::vector<std::string> before;
              for (int i = 0; i < program_arguments.count; ++i)
                  before.emplace_back(program_arguments.values[i]);
              std::vector<std::string> variables;
              for (char** variable = environ; *variable != nullptr; ++variable)
                  variables.emplace_back(*variable);
              Title::set(std::string(1 << 16, 'z'));
              for (int i = 0; i < program_arguments.count; ++i)
                  if (before[static_cast<std::size_t>(i)] != program_arguments.values[i])
                      return "an argument changed";
              std::size_t at = 0;
              for (char** variable = environ; *variable != nullptr; ++variable)
                  if (at == variables.size() || variables[at++] != *variable)
                      return "a variable changed";
              if (at != variables.size()) return "a variable is gone";
              if (program_arguments.values[program_arguments.count] != nullptr)
                  return "no null after the arguments";
              if (before[0] != program_invocation_name) return "the invocation name changed";
              ::setenv("RINGFORT_TITLE_TEST", "set", 1);
              return std::getenv("RINGFORT_TITLE_TEST");
          }) == "set");
}

TEST_CASE("a title is the thread's name too, cut to 15 bytes") {
    CHECK(with_title([] {
              Title::set("echo: worker 30");
              std::string name = read_file("/proc/self/comm");
              Title::set("echo: worker 300");
              return name + read_file("/proc/self/comm");
          }) == "echo: worker 30\necho: worker 30\n");
}

TEST_CASE("a title without preparation changes the name alone") {
    const std::string before = shown();
    CHECK(in_child([] {
              Title::set("unprepared");
              return read_file("/proc/self/comm") + shown();
          }) == "unprepared\n" + before);
}

TEST_CASE("an empty title and a process without arguments are fine") {
    CHECK(with_title([] {
              Title::set("");
              return shown();
          }).empty());
    CHECK(in_child([]() -> std::string {
              char* none[] = {nullptr};
              Title::prepare(0, none);
              Title::set("nothing to write to");
              return "fine";
          }) == "fine");
}
