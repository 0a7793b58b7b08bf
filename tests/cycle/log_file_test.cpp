#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

import ringfort.base;
import ringfort.config;
import ringfort.cycle;

#include "surroundings.h"

using namespace ringfort;

TEST_CASE("standard error is no file") {
    const auto opened = cycle::open_log(cycle::standard_error);
    REQUIRE(opened);
    CHECK_FALSE(static_cast<bool>(*opened));
}

TEST_CASE("a log is appended to, closed on exec and not for everybody to read") {
    const testing::TempDir directory;
    const std::string path = directory.file("log");
    const mode_t umask = ::umask(0);
    auto first = cycle::open_log(path);
    ::umask(umask);
    REQUIRE(first);
    CHECK(testing::permissions(path) == 0640);
    CHECK((::fcntl(first->get(), F_GETFD) & FD_CLOEXEC) != 0);
    REQUIRE(::write(first->get(), "one\n", 4) == 4);
    const auto second = cycle::open_log(path);
    REQUIRE(second);
    REQUIRE(::write(second->get(), "two\n", 4) == 4);
    std::ifstream file{path};
    CHECK(std::string{std::istreambuf_iterator<char>{file}, {}} == "one\ntwo\n");
}

TEST_CASE("a log in a directory that does not exist is an error") {
    const testing::TempDir directory;
    const auto opened = cycle::open_log(directory.file("no/log"));
    REQUIRE_FALSE(opened);
    CHECK(opened.error().is(std::errc::no_such_file_or_directory));
}
