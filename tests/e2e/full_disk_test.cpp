// A server whose disk is full: where the log is, nothing can be written for a while.
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "files.h"
#include "load.h"
#include "log_file.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

/// A file system of a size of its own, seen by this thread and what it starts.
class SmallDisk {
public:
    explicit SmallDisk(std::string path) : path_{std::move(path)} {
        std::filesystem::create_directory(path_);
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=256k") != 0)
            why_ = std::generic_category().message(errno);
    }
    ~SmallDisk() {
        if (why_.empty()) ::umount2(path_.c_str(), MNT_DETACH);
    }
    SmallDisk(const SmallDisk&) = delete;
    SmallDisk& operator=(const SmallDisk&) = delete;

    /// Empty when it is there.
    [[nodiscard]] const std::string& why_not() const noexcept { return why_; }
    void fill() const {
        std::ofstream file{ballast(), std::ios::app};
        while (file << std::string(100, 'x') << std::flush) continue;
        // The last page of the log itself still has room: fill what is left byte by byte.
    }
    void make_room() const { std::filesystem::remove(ballast()); }
    [[nodiscard]] bool full() const { return std::filesystem::space(path_).available == 0; }

private:
    [[nodiscard]] std::string ballast() const { return path_ + "/ballast"; }
    std::string path_;
    std::string why_;
};

TEST_CASE("with the log's disk full a server serves on, and tells what it could not log") {
    const std::string app = echo_app();
    const TempDir dir;
    const SmallDisk disk{dir.file("disk")};
    if (!disk.why_not().empty()) SKIP("no file system can be mounted here: " << disk.why_not());
    Config config;
    config.log_target = dir.file("disk/log");
    config.respawn_backoff_min_ms = 10;
    Server server{app, config, dir};
    const Endpoint echo = server.at("echo");
    Load load{echo};
    REQUIRE(load.wait_for_more(20));
    disk.fill();
    REQUIRE(disk.full());
    // The rest of the log's last page takes some lines still.
    std::size_t size = server.log().mark();
    for (int reloads = 0; reloads < 40; ++reloads) {
        const auto before = server.workers();
        server.signal(SIGHUP);
        REQUIRE(eventually(later(), [&] {
            return server.workers().size() == 2 && std::ranges::none_of(before, is_running);
        }));
        if (size == server.log().mark()) break;
        size = server.log().mark();
    }
    CHECK(size == server.log().mark());
    CHECK(load.wait_for_more(100));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);

    disk.make_room();
    const std::size_t mark = server.log().mark();
    server.signal(SIGUSR1);
    const std::string told = server.log().wait_for("lines lost before this one: ", mark);
    CHECK(told.find("No space left on device") != std::string::npos);
    server.log().wait_for("signal SIGUSR1", mark);
    for (const std::string& line : server.log().find("", mark)) {
        INFO(line);
        if (line.size() > 10) CHECK((line[10] == 'T' || line.find("lost before") == line.npos));
    }
    static_cast<void>(server.reload());
    Connection::to(echo).echo("hello");
}

}  // namespace
}  // namespace e2e
