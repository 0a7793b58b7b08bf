#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "../temp_dir.h"
#include "fixture.h"

import ringfort.base;
import ringfort.config;
import services;

namespace config = ringfort::config;

namespace {

/// A directory with files written into it.
struct Directory : testing::TempDir {
    [[nodiscard]] std::string write(std::string_view name, std::string_view text) const {
        std::ofstream{file(name)} << text;
        return file(name);
    }
};

std::string problems(const std::string& path) {
    const auto parsed = config::load(path, services::registry());
    return parsed ? "" : parsed.problems().text();
}

}  // namespace

TEST_CASE("a file is read, and named in its problems") {
    const Directory directory;
    CHECK(config::load(directory.write("a.toml", fixture::listener), services::registry()));
    const std::string bad = directory.write("bad.toml", "x");
    CHECK(problems(bad).starts_with(bad + ":1:2: error: expected `=`"));
}

TEST_CASE("a file that is not there is a problem with a remedy") {
    const Directory directory;
    const std::string path = directory.file("none.toml");
    CHECK(problems(path) ==
          path +
              ": error: cannot be read: No such file or directory\n"
              "  help: check the path; it is looked for from the working directory\n");
    CHECK(problems("").starts_with(": error: cannot be read: No such file"));
}

TEST_CASE("a directory is no configuration") {
    const Directory directory;
    CHECK(problems(directory.file("")) ==
          directory.file("") + ": error: cannot be read: Is a directory\n  help: name a file\n");
}

TEST_CASE("a file that may not be read is a problem with a remedy") {
    const Directory directory;
    const std::string path = directory.write("a.toml", fixture::listener);
    REQUIRE(::chmod(path.c_str(), 0) == 0);
    const uid_t us = ::geteuid();
    if (us == 0) REQUIRE(::seteuid(65'534) == 0);  // root may read everything
    const std::string text = problems(path);
    if (us == 0) REQUIRE(::seteuid(0) == 0);
    CHECK(text.starts_with(path + ": error: cannot be read: Permission denied\n  help: let user "));
}

TEST_CASE("a file over the size limit is refused") {
    const Directory directory;
    const std::string path = directory.write("a.toml", fixture::listener);
    std::filesystem::resize_file(path, ringfort::limits::max_config_size.count + 1);
    CHECK(problems(path) == path + ": error: the configuration is larger than 16MiB\n");
}

TEST_CASE("a file that never ends is refused") {
    CHECK(problems("/dev/zero") == "/dev/zero: error: the configuration is larger than 16MiB\n");
}
