#include <catch2/catch_test_macros.hpp>

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "../temp_dir.h"
#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using process::Program;
namespace fs = std::filesystem;

Program program_of(std::vector<std::string> arguments) {
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    return Program::of(static_cast<int>(arguments.size()), pointers.data());
}

/// What a script prints that tells its name, its arguments and two variables.
std::string output_of(const std::string& path, const std::vector<std::string>& additions) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::alarm(deadline_seconds);
        ::dup2(ends[1], STDOUT_FILENO);
        ::setenv("KEPT", "kept", 1);
        ::setenv("REPLACED", "before", 1);
        const Program program = program_of({path, "one", "two words"});
        ::chdir("/");  // a server may have a working directory of its own
        (void)program.execute(additions);
        ::_exit(1);
    }
    ::close(ends[1]);
    std::string text = read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    ::waitpid(pid, &status, 0);
    return text + (status == 0 ? "" : "(failed)");
}

}  // namespace

TEST_CASE("a program named by a path is found from the directory it was started in") {
    CHECK(program_of({"/usr/bin/thing", "-c"}).path() == "/usr/bin/thing");
    const std::string path = in_child([] {
        const Program program = program_of({"./sub/thing"});
        ::chdir("/");
        return program.path();
    });
    CHECK(fs::path{path}.is_absolute());
    CHECK(fs::path{path}.lexically_normal() == fs::current_path() / "sub/thing");
}

TEST_CASE("a program named without a path is found as the shell found it") {
    const testing::TempDir dir;
    std::ofstream{dir.file("rf-thing")} << "#!/bin/sh\n";
    const auto found = [&] {
        return in_child([&] {
            ::setenv("PATH", ("/nowhere:" + dir.path().string()).c_str(), 1);
            return program_of({"rf-thing"}).path();
        });
    };
    CHECK(found() == fs::read_symlink("/proc/self/exe"));  // not executable: what runs now
    ::chmod(dir.file("rf-thing").c_str(), 0755);
    CHECK(found() == dir.file("rf-thing"));
    CHECK(program_of({}).path() == fs::read_symlink("/proc/self/exe"));
}

TEST_CASE("executing gives the arguments, the environment and what is added to it") {
    const testing::TempDir dir;
    const std::string path = dir.file("script");
    std::ofstream{path} << "#!/bin/sh\necho \"$1|$2|$#|$KEPT|$REPLACED|$ADDED\"\npwd\n";
    ::chmod(path.c_str(), 0755);
    CHECK(output_of(path, {"REPLACED=after", "ADDED=a=b"}) ==
          "one|two words|2|kept|after|a=b\n" + fs::current_path().string() + "\n");
}

TEST_CASE("executing what is not there is an error") {
    const Error error = program_of({"/nowhere/thing"}).execute({});
    CHECK(error.is(std::errc::no_such_file_or_directory));
    CHECK(error.text().find("execve") != std::string::npos);
}
