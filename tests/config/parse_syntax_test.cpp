#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "fixture.h"

using Headlines = std::vector<std::string>;

namespace {

struct Case {
    std::string text;
    std::string headline;
    std::string help;
};

/// Reads lines that stand in front of a good listener.
void check(const std::vector<Case>& cases) {
    for (const Case& one : cases) {
        const auto outcome = fixture::read(one.text + "\n" + std::string{fixture::listener});
        INFO(one.text);
        CHECK(outcome.headlines == Headlines{one.headline});
        if (!one.help.empty()) {
            INFO(outcome.text);
            CHECK(outcome.text.find("  help: " + one.help) != std::string::npos);
        }
    }
}

}  // namespace

TEST_CASE("text without quotes is told to take quotes") {
    check({{"[log]\nlevel = debug", "2:9: `debug` is not a value", "text needs quotes: \"debug\""},
           {"[log]\nlevel = info", "2:9: `info` is not a value", "text needs quotes: \"info\""},
           {"[log]\nformat = text", "2:10: `text` is not a value", "text needs quotes: \"text\""},
           {"a = unix:/run/a.sock", "1:5: `unix:/run/a.sock` is not a value", "text needs quotes"},
           {"a = 127.0.0.1:7000", "1:5: `127.0.0.1:7000` is not a value", "text needs quotes"},
           {"a = $HOME", "1:5: `$HOME` is not a value", "text needs quotes"}});
}

TEST_CASE("values that only look like values are told what to write") {
    check(
        {{"a = 30s", "1:5: `30s` is not a value", "a size is text, \"30s\"; a time is an integer"},
         {"a = 4MiB", "1:5: `4MiB` is not a value", "a size is text, \"4MiB\""},
         {"a = True", "1:5: `True` is not a value", "write true"},
         {"a = FALSE # no", "1:5: `FALSE` is not a value", "write false"},
         {"a = yes", "1:5: `yes` is not a value", "write true or false"},
         {"a = 0666", "1:5: `0666` begins with a zero", "write 0o in front of an octal number"},
         {"a = 1__0", "1:5: `1__0`: an underscore must stand between digits", ""},
         {"a = 99999999999999999999", "1:5: 99999999999999999999 is too large", ""},
         {"a = 2020-13-01", "1:5: `2020-13-01` is not a value", "text needs quotes"},
         {"a =", "1:4: the value is missing", "write key = value"},
         {"a = # later", "1:5: the value is missing", "write key = value"}});
}

TEST_CASE("a statement that is none is told what is missing") {
    check({{"a 1", "1:3: expected `=` behind the key, not `1`", "write key = value"},
           {"a", "1:2: expected `=` behind the key, not the end of the line", ""},
           {"a = 1 b = 2", "1:7: expected the end of the line, not `b`", "write every key"},
           {"a..b = 1", "1:3: a key cannot begin with `.`", ""},
           {"a.& = 1", "1:3: a key cannot begin with `&`", ""},
           {"a = [1 2]", "1:8: expected comma or closing `]`, not `2`", ""},
           {"a = {b = 1,}", "1:12: a comma in front of `}`", "remove the comma"},
           {"a = {b = 1", "1:11: an inline table must end on the line it begins on", "close it"}});
}

TEST_CASE("a table's header that is none is told how to write one") {
    check({{"[a\nb = 1", "1:3: expected `]`, not the end of the line", "write [table]"},
           {"[[a]\nb = 1", "1:5: expected `]`, not the end of the line", ""},
           {"[a]]", "1:4: expected the end of the line, not `]`", ""},
           {"[]", "1:2: expected a table's name", "write [name]"},
           {"[a.&]", "1:4: a key cannot begin with `&`", ""},
           {"[ [a]]", "1:3: the two brackets of [[ and ]] must stand together", ""}});
}

TEST_CASE("what makes the library's assertions fail is a problem like others") {
    check({{"[&", "1:2: expected a table's name", "write [name]; names are made of letters"},
           {"[  =x]", "1:4: expected a table's name", ""},
           {"[[$", "1:3: expected a table's name", ""},
           {"[[[a]]]", "1:3: expected a table's name", ""},
           {"zone = [\n]\n  [.]", "3:4: expected a table's name", ""}});
}

TEST_CASE("a string that does not end is shown from its beginning") {
    check({{"a = \"abc", "1:5: the string is not closed", "end it with \", or use \"\"\""},
           {"a = 'abc", "1:5: the string is not closed", "end it with ', or use '''"},
           {"a = \"\"\"abc\ndef", "1:5: the string is not closed", "end it with \"\"\""},
           {"a = \"C:\\dir\"", "1:8: this is no escape sequence", "write \\\\ for a backslash"}});
}

TEST_CASE("a key defined twice is shown with its first definition") {
    const auto key = fixture::read_in("[master]", "workers = 1\n  workers = 2");
    CHECK(key.text ==
          "t.toml:3:3: error: `workers` is defined twice\n"
          "    3 |   workers = 2\n"
          "      |   ^^^^^^^\n"
          "  note: the first one is here\n"
          "    2 | workers = 1\n"
          "      | -------\n"
          "  help: remove one of them\n");
    const auto table = fixture::read_in("[log]", "[master]\n[worker]\n[master]");
    CHECK(table.text ==
          "t.toml:4:2: error: `master` is defined twice\n"
          "    4 | [master]\n"
          "      |  ^^^^^^\n"
          "  note: the first one is here\n"
          "    2 | [master]\n"
          "      |  ------\n"
          "  help: put all keys of a table below one header\n");
}

TEST_CASE("a key defined twice in the second of several tables is found there") {
    const std::string first = "[[listener]]\naddress = \"unix:/a\"\nservice = \"echo\"\n";
    const auto outcome = fixture::read(first + "[[listener]]\nbacklog = 1\nbacklog = 2\n");
    CHECK(outcome.text.find("    5 | backlog = 1\n") != std::string::npos);
}

TEST_CASE("[name] and [[name]] do not mix") {
    check({{"[[zone]]\nname = \"a\"\nsize = \"64KiB\"\n[zone]", "4:2: `zone` is an array of tables",
            "write [[zone]] to add one"},
           {"[log]\n[[log]]", "2:3: `log` is already defined, and not as [[log]]", ""}});
}

TEST_CASE("several syntax errors are reported at once, with what is wrong elsewhere") {
    const auto outcome = fixture::read(
        "[master]\n"
        "workers = auto\n"
        "drain_timeout_ms 3\n"
        "kill_timeout_ms = \"1s\"\n"
        "pid_file = \"abc\n"
        "[log\n"
        "swallowed = 1\n"
        "[worker]\n"
        "conections = 1\n");
    CHECK(outcome.headlines == Headlines{
                                   "2:11: `auto` is not a value",
                                   "3:18: expected `=` behind the key, not `3`",
                                   "4:19: `kill_timeout_ms` must be an integer of milliseconds, "
                                   "not a string",
                                   "5:12: the string is not closed",
                                   "6:5: expected `]`, not the end of the line",
                                   "9:1: unknown key `conections`: did you mean `connections`?",
                               });
}

TEST_CASE("behind a syntax error nothing is called missing: it may be in the bad line") {
    CHECK(fixture::read("[[listener]]\naddress = unix:/a\nservice = \"echo\"\n").headlines ==
          Headlines{"2:11: `unix:/a` is not a value"});
    CHECK(fixture::read("[[listener]\naddress = 1\n").headlines ==
          Headlines{"1:12: expected `]`, not the end of the line"});
}

TEST_CASE("an array or string left open is the only error: the lines behind it mean nothing") {
    CHECK(fixture::read("a = [1,\nb = 2\nc 3\n").headlines ==
          Headlines{"2:1: `b` stands inside an array that is not closed"});
    CHECK(fixture::read("a = '''\nb = 2\nc 3\n").headlines ==
          Headlines{"1:5: the string is not closed"});
}

TEST_CASE("syntax errors are looked for up to their limit") {
    std::string lines;
    for (int i = 0; i < 50; ++i) lines += "a\n";
    CHECK(fixture::read(lines).headlines.size() == 20);
}
