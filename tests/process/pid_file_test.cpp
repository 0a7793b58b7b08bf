#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../temp_dir.h"
#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;
namespace fs = std::filesystem;

/// A directory with a pid file in it, or nothing.
struct Directory : testing::TempDir {
    [[nodiscard]] std::string file() const { return TempDir::file("master.pid"); }
    void write(const std::string& text) const { std::ofstream{file()} << text; }
};

/// Another process that holds the pid file until it is ended.
class OtherMaster {
public:
    explicit OtherMaster(const std::string& path) {
        int ready[2];
        if (::pipe2(ready, O_CLOEXEC) != 0) throw std::runtime_error{"pipe2"};
        pid_ = ::fork();
        if (pid_ == 0) {
            ::alarm(deadline_seconds);
            ::signal(SIGTERM, SIG_DFL);  // not Catch2's report of a test that crashed
            const auto file = PidFile::create(path);
            write_all(ready[1], file ? "y" : "n");
            while (file) ::pause();
            ::_exit(1);
        }
        ::close(ready[1]);
        holds_ = read_one(ready[0]) == 'y';
        ::close(ready[0]);
    }
    OtherMaster(const OtherMaster&) = delete;
    OtherMaster& operator=(const OtherMaster&) = delete;
    ~OtherMaster() { kill(); }

    [[nodiscard]] pid_t pid() const { return pid_; }
    [[nodiscard]] bool holds() const { return holds_; }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

private:
    static char read_one(int fd) {
        char byte = 0;
        return ::read(fd, &byte, 1) == 1 ? byte : '\0';
    }

    pid_t pid_ = -1;
    bool holds_ = false;
};

std::string reason(const Result<pid_t>& result) {
    return result ? std::to_string(*result) : result.error().code().message();
}

std::string reason(const Result<void>& result) {
    return result ? "free" : result.error().code().message();
}

std::string reason(const Result<PidFile>& result) {
    return result ? "created" : result.error().code().message();
}

}  // namespace

TEST_CASE("a pid file names its creator while that lives, and is removed with it") {
    const Directory directory;
    {
        const auto file = PidFile::create(directory.file());
        REQUIRE(file.has_value());
        CHECK(read_file(directory.file().c_str()) == std::to_string(::getpid()) + "\n");
        CHECK(reason(read_pid(directory.file())) == std::to_string(::getpid()));
        CHECK(reason(running_pid(directory.file())) == std::to_string(::getpid()));
        CHECK(directory.entries() == 1);
    }
    CHECK(directory.entries() == 0);
}

TEST_CASE("a second master is turned away and learns who holds the file") {
    const Directory directory;
    const OtherMaster other{directory.file()};
    REQUIRE(other.holds());
    CHECK(reason(PidFile::create(directory.file())) == "Device or resource busy");
    CHECK(reason(running_pid(directory.file())) == std::to_string(other.pid()));
    CHECK(directory.entries() == 1);
}

TEST_CASE("the creator itself cannot create the file twice") {
    const Directory directory;
    const auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    CHECK(reason(PidFile::create(directory.file())) == "Device or resource busy");
    CHECK(reason(running_pid(directory.file())) == std::to_string(::getpid()));
}

TEST_CASE("after kill -9 of the holder the file is stale: nobody to signal, and free to take") {
    const Directory directory;
    OtherMaster other{directory.file()};
    REQUIRE(other.holds());
    const pid_t pid = other.pid();
    other.kill();
    CHECK(reason(read_pid(directory.file())) == std::to_string(pid));
    CHECK(reason(running_pid(directory.file())) == "No such process");
    const auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    CHECK(reason(running_pid(directory.file())) == std::to_string(::getpid()));
}

TEST_CASE("a stale file whose pid belongs to another living process is not taken for running") {
    const Directory directory;
    directory.write(std::to_string(::getppid()) + "\n");
    CHECK(reason(read_pid(directory.file())) == std::to_string(::getppid()));
    CHECK(reason(running_pid(directory.file())) == "No such process");
}

TEST_CASE("a stale file that a starter has claimed, but not replaced, is not taken for running") {
    const Directory directory;
    directory.write(std::to_string(::getppid()) + "\n");
    const Fd claimed{::open(directory.file().c_str(), O_RDWR | O_CLOEXEC)};
    struct flock lock{};
    lock.l_type = F_WRLCK;
    lock.l_len = 1;
    REQUIRE(::fcntl(claimed.get(), F_OFD_SETLK, &lock) == 0);
    CHECK(reason(running_pid(directory.file())) == "No such process");
    CHECK(reason(PidFile::create(directory.file())) == "Device or resource busy");
}

TEST_CASE("asking who runs neither takes the lock nor loses it") {
    const Directory directory;
    const auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    for (int i = 0; i < 3; ++i) CHECK(running_pid(directory.file()).has_value());
    const OtherMaster other{directory.file()};
    CHECK_FALSE(other.holds());
}

TEST_CASE("a signal through the found process reaches the holder") {
    const Directory directory;
    const OtherMaster other{directory.file()};
    REQUIRE(other.holds());
    const auto running = find_running(directory.file());
    REQUIRE(running.has_value());
    CHECK(running->pid == other.pid());
    CHECK(send_signal(running->pidfd, SIGTERM).has_value());
    REQUIRE(wait_readable(running->pidfd.get()));
    CHECK(reap(running->pidfd).value() == ExitStatus::killed(SIGTERM));
}

TEST_CASE("texts that are no pid are told apart from a file that is empty or not there") {
    const Directory directory;
    CHECK(reason(read_pid(directory.file())) == "No such file or directory");
    CHECK(reason(running_pid(directory.file())) == "No such file or directory");
    directory.write("");
    CHECK(reason(read_pid(directory.file())) == "No data available");
    for (const char* text : {"\n", "x\n", "12x\n", "12 \n", " 12", "12\n\n", "0\n", "-12\n",
                             "99999999999999\n", "12\n13\n"}) {
        directory.write(text);
        CHECK(reason(read_pid(directory.file())) == "Invalid argument");
        CHECK(reason(running_pid(directory.file())) == "No such process");
    }
    directory.write("12");
    CHECK(reason(read_pid(directory.file())) == "12");
}

TEST_CASE("only regular files are pid files, and a FIFO does not make anybody wait") {
    const Directory directory;
    REQUIRE(::mkfifo(directory.file().c_str(), 0600) == 0);
    CHECK(reason(PidFile::create(directory.file())) == "Invalid argument");
    CHECK(reason(read_pid(directory.file())) == "Invalid argument");
    fs::remove(directory.file());
    fs::create_symlink("elsewhere", directory.file());
    CHECK(reason(PidFile::create(directory.file())) == "Too many levels of symbolic links");
    CHECK(reason(PidFile::create(directory.file() + "/x/y")) == "No such file or directory");
    CHECK(directory.entries() == 1);
}

TEST_CASE("a file whose text is no pid is not replaced: somebody needs it") {
    const Directory directory;
    directory.write("[master]\n");
    CHECK(reason(PidFile::create(directory.file())) == "Invalid argument");
    CHECK(reason(PidFile::examine(directory.file())) == "Invalid argument");
    CHECK(reason(read_pid(directory.file())) == "Invalid argument");
    CHECK(directory.entries() == 1);
    for (const char* text : {"", "12\n"}) {
        directory.write(text);
        CHECK(PidFile::examine(directory.file()));
        CHECK(PidFile::create(directory.file()));
    }
}

TEST_CASE("examining a pid file tells what creating it would, and changes nothing") {
    const Directory directory;
    CHECK(PidFile::examine(directory.file()));
    CHECK(directory.entries() == 0);
    CHECK(reason(PidFile::examine(directory.file() + "/x/y")) == "No such file or directory");
    {
        const auto held = PidFile::create(directory.file());
        REQUIRE(held);
        CHECK(reason(PidFile::examine(directory.file())) == "Device or resource busy");
    }
    fs::create_symlink("elsewhere", directory.file());
    CHECK(reason(PidFile::examine(directory.file())) == "Too many levels of symbolic links");
    CHECK(directory.entries() == 1);
}

TEST_CASE("a failure to write leaves nothing behind") {
    const Directory directory;
    fs::create_directory(directory.file() + ".new");  // what the new file is to be called
    CHECK_FALSE(PidFile::create(directory.file()).has_value());
    CHECK(directory.entries() == 1);
}

TEST_CASE("a forked child removes nothing, whether it releases the file or destroys it") {
    const Directory directory;
    auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    for (const bool release : {true, false}) {
        CHECK(in_child([&]() -> std::string {
                  if (release)
                      file->release();
                  else
                      PidFile{std::move(*file)};
                  return "done";
              }) == "done");
        CHECK(reason(running_pid(directory.file())) == std::to_string(::getpid()));
    }
}

TEST_CASE("a spawned child does not keep the lock of a master that is gone") {
    const Directory directory;
    int gate[2];
    REQUIRE(::pipe2(gate, O_CLOEXEC) == 0);
    int ready[2];
    REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
    const std::string text = in_child([&]() -> std::string {
        const auto file = PidFile::create(directory.file());
        const RawFd keep[] = {gate[0], ready[1]};
        const auto child = spawn({.keep = keep}, [&] {
            write_all(ready[1], "y");
            return wait_readable(gate[0]) ? 0 : 1;
        });
        char byte = 0;
        if (!child || ::read(ready[0], &byte, 1) != 1) return "not spawned";
        ::raise(SIGKILL);
        return "alive";
    });
    CHECK(text == "(ended with status 9)");
    CHECK(reason(running_pid(directory.file())) == "No such process");
    CHECK(reason(PidFile::create(directory.file())) == "created");
    CHECK(write_all(gate[1], "go"));
    for (const int fd : {gate[0], gate[1], ready[0], ready[1]}) ::close(fd);
}

TEST_CASE("a released object in a spawned child does not close a number that was reused") {
    const Directory directory;
    auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    const auto child = spawn({}, [&] {
        std::vector<RawFd> reused;  // the lowest free numbers, the file's old one among them
        for (int i = 0; i < 64; ++i) reused.push_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        file->release();
        for (const RawFd fd : reused)
            if (::fcntl(fd, F_GETFD) < 0) return 1;
        return 0;
    });
    REQUIRE(child.has_value());
    REQUIRE(wait_readable(child->pidfd.get()));
    CHECK(reap(child->pidfd).value() == ExitStatus::exited(0));
}

TEST_CASE("a pid file that somebody else has put in place of ours is left alone") {
    const Directory directory;
    {
        const auto file = PidFile::create(directory.file());
        REQUIRE(file.has_value());
        fs::remove(directory.file());
        directory.write("12\n");
    }
    CHECK(reason(read_pid(directory.file())) == "12");
}

TEST_CASE("a moved pid file is removed once, by its last owner") {
    const Directory directory;
    auto file = PidFile::create(directory.file());
    REQUIRE(file.has_value());
    {
        std::optional<PidFile> second{std::move(*file)};
        CHECK(second->path() == directory.file());
        *file = std::move(*second);
        second.reset();
        CHECK(directory.entries() == 1);
        const PidFile last{std::move(*file)};
        CHECK(directory.entries() == 1);
    }
    CHECK(directory.entries() == 0);
}

TEST_CASE("of many masters that start at once on a stale file exactly one gets it") {
    for (int round = 0; round < 10; ++round) {
        const Directory directory;
        if (round % 2 == 0) directory.write("12\n");
        int start[2];
        int verdict[2];
        int stop[2];
        REQUIRE(::pipe2(start, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(verdict, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(stop, O_CLOEXEC) == 0);
        constexpr int starters = 8;
        std::vector<pid_t> pids;
        for (int i = 0; i < starters; ++i) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                ::alarm(deadline_seconds);
                wait_readable(start[0]);
                const auto file = PidFile::create(directory.file());
                write_all(verdict[1], file ? "y" : "n");
                wait_readable(stop[0]);  // holds it until all have tried
                ::_exit(0);
            }
            pids.push_back(pid);
        }
        CHECK(write_all(start[1], "go"));
        std::string verdicts;
        char byte = 0;
        while (verdicts.size() < starters && ::read(verdict[0], &byte, 1) == 1) verdicts += byte;
        CHECK(std::count(verdicts.begin(), verdicts.end(), 'y') == 1);
        CHECK(running_pid(directory.file()).has_value());
        CHECK(write_all(stop[1], "go"));
        for (const pid_t pid : pids) ::waitpid(pid, nullptr, 0);
        for (const int fd : {start[0], start[1], verdict[0], verdict[1], stop[0], stop[1]})
            ::close(fd);
    }
}

TEST_CASE("masters that come and go never hold the file together") {
    const Directory directory;
    std::vector<pid_t> pids;
    for (int i = 0; i < 4; ++i) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            ::alarm(deadline_seconds);
            const std::string inside = directory.file() + ".inside";
            for (int round = 0; round < 500; ++round) {
                const auto file = PidFile::create(directory.file());
                if (!file) continue;
                // Created by whoever is inside: it must not be there for the next one.
                const int fd = ::open(inside.c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                const auto running = running_pid(directory.file());
                if (fd < 0 || !running || *running != ::getpid()) ::_exit(1);
                ::unlink(inside.c_str());
                ::close(fd);
            }
            ::_exit(0);
        }
        pids.push_back(pid);
    }
    for (const pid_t pid : pids) {
        int status = -1;
        ::waitpid(pid, &status, 0);
        CHECK(status == 0);
    }
    CHECK(directory.entries() == 0);
}
