// Successors that die while they take over.
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <future>
#include <string>
#include <thread>

#include "apps.h"
#include "child.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "processes.h"
#include "text.h"
#include "upgradable.h"

namespace e2e {
namespace {

/// Upgrades a server again and again and kills each successor when it has workers, until five have
/// died in time or one too late; returns how many have died in time.
int deaths_of_successors() {
    Upgradable app{echo_app()};
    const std::string path = app.dir.file("echo.sock");
    app.config.listeners = {{}, {.address = "unix:" + path}};
    app.start();
    int died = 0;
    for (int i = 0; died < 5; ++i) {
        auto answer = std::async(std::launch::async, [&] { return app.ctl("upgrade"); });
        pid_t successor = 0;
        while (successor == 0 &&
               answer.wait_for(std::chrono::seconds{0}) != std::future_status::ready)
            for (const pid_t child : children_of(app.server->master()))
                if (!children_of(child).empty()) successor = child;
        if (successor != 0) {
            std::this_thread::sleep_for(std::chrono::microseconds{500 * i});
            ::kill(successor, SIGKILL);
        }
        const Finished upgraded = answer.get();
        INFO(upgraded.text());
        if (upgraded.code == 0) {
            static_cast<void>(app.server->wait(later()));
            if (successor == 0) {  // we have not looked in time: it serves
                app.masters.push_back(app.holder());
            } else {  // it was on its own by then, and is dead
                ::unlink(path.c_str());
                ::unlink(app.config.control->c_str());
                ::unlink(app.config.pid_file->c_str());
            }
            return died;
        }
        REQUIRE(successor != 0);
        ++died;
        app.serves_as_before();
        Connection::to(Endpoint::parse("unix:" + path)).echo("as before");
    }
    return died;
}

TEST_CASE("a successor that dies over what it is left changes nothing") {
    int died = 0;
    for (int servers = 0; servers < 30 && died == 0; ++servers) died = deaths_of_successors();
    CHECK(died > 0);
}

/// Has what is started meanwhile die when it has renamed a file to `path` and is doomed to.
class DyingRename {
public:
    explicit DyingRename(const std::string& path) : doom_{path + ".doom"} {
        ::setenv("LD_PRELOAD", RINGFORT_E2E_DYING_RENAME, 1);
        ::setenv("RINGFORT_E2E_DOOM", path.c_str(), 1);
    }
    ~DyingRename() {
        ::unsetenv("LD_PRELOAD");
        ::unsetenv("RINGFORT_E2E_DOOM");
        ::unlink(doom_.c_str());
    }
    DyingRename(const DyingRename&) = delete;
    DyingRename& operator=(const DyingRename&) = delete;

    void doom() const { write_file(doom_, ""); }
    /// Tells whether that has had no effect: not every build lets its calls be taken from it.
    [[nodiscard]] bool vain() const { return std::filesystem::exists(doom_); }

private:
    std::string doom_;
};

TEST_CASE("a successor that dies when the pid file is its own leaves it to the master before it") {
    Upgradable app{echo_app()};
    const DyingRename rename{*app.config.pid_file};
    app.start();
    rename.doom();
    const Finished failed = app.ctl("upgrade");
    INFO(failed.text());
    if (failed.code == 0 && rename.vain()) {
        app.masters.push_back(app.holder());
        SKIP("this build's calls cannot be taken from it");
    }
    CHECK(failed.code != 0);
    CHECK(has(failed.error, "killed by signal 9"));
    app.serves_as_before();
    app.upgrade();
    REQUIRE(app.server->wait(later()));
    Connection::to(app.server->at("echo")).echo("here");
}

}  // namespace
}  // namespace e2e
