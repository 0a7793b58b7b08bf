// A service manager, as systemd is one, that opens sockets, and keeps descriptors from one start of
// the server to the next.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "notify_socket.h"
#include "owned_fd.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

constexpr int first_passed = 3;

/// What the next start gets: descriptors, with their names.
std::vector<std::pair<int, std::string>> to_be_passed;

/// In the child: moves them to where they are looked for.
bool pass() {
    std::string names;
    std::vector<int> copies;
    const auto count = static_cast<int>(to_be_passed.size());
    for (const auto& [fd, name] : to_be_passed) {
        copies.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, first_passed + count));
        names += (names.empty() ? "" : ":") + name;
    }
    for (int i = 0; i < count; ++i)
        if (::dup2(copies[static_cast<std::size_t>(i)], first_passed + i) < 0) return false;
    return ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1) == 0 &&
           ::setenv("LISTEN_FDS", std::to_string(count).c_str(), 1) == 0 &&
           ::setenv("LISTEN_FDNAMES", names.c_str(), 1) == 0;
}

/// Keeps what it is told to, by name.
class Manager {
public:
    explicit Manager(const TempDir& dir) : socket_{dir.file("notify")} {
        ::setenv("FDSTORE", "64", 1);
    }
    ~Manager() {
        ::unsetenv("FDSTORE");
        to_be_passed.clear();
    }
    Manager(const Manager&) = delete;

    /// Hears all that is said until nothing comes for a moment; returns how much of it was about
    /// descriptors.
    int listen() {
        int count = 0;
        for (auto message = socket_.receive(300); !message.text.empty();
             message = socket_.receive(300))
            count += obey(std::move(message)) ? 1 : 0;
        return count;
    }
    [[nodiscard]] std::map<std::string, std::vector<OwnedFd>>& kept() { return kept_; }
    /// Lets the next start have all it keeps, the latest first.
    void pass_all() {
        to_be_passed.clear();
        for (const auto& [name, fds] : kept_)
            for (const OwnedFd& fd : fds)
                to_be_passed.insert(to_be_passed.begin(), {fd.get(), name});
    }

private:
    bool obey(NotifySocket::Message message) {
        constexpr std::string_view key = "\nFDNAME=";
        const auto at = message.text.find(key);
        if (at == message.text.npos) return false;
        const auto begin = at + key.size();
        const std::string name = message.text.substr(begin, message.text.find('\n', begin) - begin);
        if (message.text.starts_with("FDSTOREREMOVE=1\n")) {
            CHECK(kept_.erase(name) == 1);
            return true;
        }
        CHECK(message.text.starts_with("FDSTORE=1\n"));
        REQUIRE_FALSE(message.fds.empty());
        for (OwnedFd& fd : message.fds) kept_[name].push_back(std::move(fd));
        return true;
    }

    NotifySocket socket_;
    std::map<std::string, std::vector<OwnedFd>> kept_;
};

TEST_CASE("a socket that the service manager has opened is served, with who came before") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = dir.file("echo.sock");
    OwnedFd tcp = listen_on(Endpoint::parse("127.0.0.1:0"));
    OwnedFd unix_socket = listen_on(Endpoint::parse("unix:" + path));
    OwnedFd unused = listen_on(Endpoint::parse("127.0.0.1:0"));
    const Endpoint at = Endpoint::of_socket(tcp.get());
    Connection early = Connection::to(at);
    early.send("before the server");
    Config config;
    config.listeners = {{.address = at.text()}, {.address = "unix:" + path}};
    config.control = dir.file("control.sock");
    to_be_passed = {{tcp.get(), "tcp"}, {unix_socket.get(), "unix"}, {unused.get(), "unused"}};
    {
        Server server{app, config, dir, pass};
        to_be_passed.clear();
        CHECK(has(server.log().text(), "the service manager has passed " +
                                           Endpoint::of_socket(unused.get()).text() +
                                           ", where no listener is configured"));
        tcp.close();
        unused.close();
        CHECK(early.receive(17) == "before the server");
        early.close();  // or the predecessor waits for it
        Connection::to(Endpoint::parse("unix:" + path)).echo("by path");
        CHECK(ctl(app, *config.control, {"reload"}).code == 0);
        CHECK(ctl(app, *config.control, {"upgrade"}).code == 0);
        REQUIRE(server.wait(later()));
        Connection::to(Endpoint::parse("unix:" + path)).echo("to the successor");
        CHECK(ctl(app, *config.control, {"quit"}).code == 0);
        // The service manager's file is the service manager's.
        CHECK(std::filesystem::exists(path));
        REQUIRE(::unlink(path.c_str()) == 0);
        unix_socket.close();
    }
}

TEST_CASE(
    "a single process serves what the service manager has opened, and names what it does not") {
    const TempDir dir;
    OwnedFd tcp = listen_on(Endpoint::parse("127.0.0.1:0"));
    OwnedFd unused = listen_on(Endpoint::parse("127.0.0.1:0"));
    const Endpoint at = Endpoint::of_socket(tcp.get());
    const Endpoint nowhere = Endpoint::of_socket(unused.get());
    Connection early = Connection::to(at);
    early.send("before the server");
    Config config;
    config.listeners = {{.address = at.text()}};
    to_be_passed = {{tcp.get(), "tcp"}, {unused.get(), "unused"}};
    Server server{echo_app(), config, dir, pass, {"--single"}};
    to_be_passed.clear();
    tcp.close();
    unused.close();
    CHECK(early.receive(17) == "before the server");
    const std::string warning =
        "the service manager has passed " + nowhere.text() + ", where no listener is configured";
    CHECK(server.log().find(warning).size() == 1);
    CHECK(eventually(soon(), [&] { return refuses(nowhere); }));
    server.reload();
    CHECK(server.log().find("the service manager has passed").size() == 1);
}

TEST_CASE("a test of the configuration uses what the service manager has opened") {
    const std::string app = echo_app();
    const TempDir dir;
    const OwnedFd tcp = listen_on(Endpoint::parse("127.0.0.1:0"));
    Config config;
    config.listeners = {{.address = Endpoint::of_socket(tcp.get()).text()}};
    const std::string path = dir.file("echo.toml");
    write_file(path, config.text());
    CHECK(run({app, "-t", "-c", path}).code == 1);
    to_be_passed = {{tcp.get(), "tcp"}};
    Child test{{.argv = {app, "-t", "-c", path}, .before_exec = pass}};
    to_be_passed.clear();
    const auto ended = test.wait(later());
    REQUIRE(ended);
    CHECK(ended->code() == 0);
}

TEST_CASE("what a service manager keeps is there after a restart, with who has come meanwhile") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = dir.file("echo.sock");
    Config config;
    config.listeners = {{},
                        {.address = "127.0.0.1:0", .service = "echo", .reuseport = true},
                        {.address = "unix:" + path}};
    config.control = dir.file("control.sock");
    config.orphan_grace_ms = 0;
    std::optional<Manager> manager{std::in_place, dir};
    Server first{app, config, dir};
    config.listeners[0].address = first.at("echo", "127.0.0.1").text();
    CHECK(manager->listen() == 3);
    CHECK(manager->kept().at("ringfort").size() == 3);  // a zone, two listeners
    for (int i = 0; i < 20; ++i) Connection::to(first.at("echo", "127.0.0.1")).echo("count me");
    manager->pass_all();
    SECTION("stopped") {
        first.signal(SIGTERM);
        CHECK(first.wait(later())->code() == 0);
    }
    SECTION("killed") {
        first.kill_all();
    }
    std::vector<Connection> waiting;
    for (const Endpoint& at :
         {Endpoint::parse(config.listeners[0].address), Endpoint::parse("unix:" + path)}) {
        waiting.push_back(Connection::to(at));
        waiting.back().send("while nobody serves");
    }
    {
        Server second{app, config, dir, pass};
        for (Connection& connection : waiting)
            CHECK(connection.receive(19) == "while nobody serves");
        CHECK(accepted(ctl(app, *config.control, {"status"}).output) >= 20);
        waiting.clear();
        manager.reset();
        second.signal(SIGTERM);
        CHECK(second.wait(later())->code() == 0);
        CHECK(::unlink(path.c_str()) == 0);  // left for the next start
    }
}

TEST_CASE("a service manager keeps what the latest generation serves with, and nothing else") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners = {{}, {}};
    config.control = dir.file("control.sock");
    config.pid_file = dir.file("pid");
    std::optional<Manager> manager{std::in_place, dir};
    Server server{app, config, dir};
    const auto order = [&](const char* what) {
        return ctl(app, *config.control, {what}, later()).code;
    };
    CHECK(manager->listen() == 1);
    CHECK(manager->kept().at("ringfort").size() == 3);
    CHECK(order("reload") == 0);
    CHECK(manager->listen() == 0);  // nothing has changed
    config.listeners.pop_back();
    server.write_config(config.text());
    CHECK(order("reload") == 0);
    CHECK(manager->listen() == 2);
    CHECK(manager->kept().at("ringfort").size() == 2);
    config.listeners[0].reuseport = true;
    server.write_config(config.text());
    CHECK(order("reload") == 0);
    static_cast<void>(manager->listen());
    CHECK(manager->kept().size() == 3);
    CHECK(order("upgrade") == 0);
    static_cast<void>(manager->listen());
    CHECK(manager->kept().size() == 3);
    CHECK(manager->kept().at("ringfort-1").size() == 1);
    manager.reset();
    CHECK(order("quit") == 0);
    REQUIRE(server.wait(later()));
}

}  // namespace
}  // namespace e2e
