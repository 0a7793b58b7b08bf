#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "log_file.h"
#include "owned_fd.h"
#include "server.h"
#include "text.h"

namespace e2e {
namespace {

std::string saved(const TempDir& dir, const std::string& name, const std::string& text) {
    write_file(dir.file(name), text);
    return dir.file(name);
}

Finished with(const std::string& app, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), app);
    return run(std::move(arguments));
}

TEST_CASE("option -t accepts a good file, binds for a try, and leaves nothing") {
    const TempDir dir;
    Config config;
    config.listeners.push_back({"unix:" + dir.file("echo.sock")});
    for (const std::string& app : {echo_app(), proxy_app()}) {
        const Finished finished = with(app, {"-t", "-c", saved(dir, "good.toml", config.text())});
        INFO(finished.text());
        CHECK(finished.code == 0);
        CHECK_FALSE(std::filesystem::exists(dir.file("echo.sock")));
    }
}

TEST_CASE("option -q has -t say nothing of a good file, and everything of a bad one") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string good = saved(dir, "good.toml", Config{}.text());
    CHECK_FALSE(with(app, {"-t", "-c", good}).text().empty());
    const Finished quiet = with(app, {"-t", "-q", "-c", good});
    CHECK(quiet.code == 0);
    CHECK(quiet.text().empty());
    const std::string bad = saved(dir, "bad.toml", "[master]\nwokers = 2\n");
    CHECK(with(app, {"-t", "-q", "-c", bad}).error == with(app, {"-t", "-c", bad}).error);
    CHECK(with(app, {"-q", "-c", good}).code == 1);
}

TEST_CASE(
    "option --set comes before the configuration, at a reload, an upgrade, and for ctl, too") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.log_level = "info";
    config.pid_file = dir.file("pid");
    const std::string control = "master.control=" + dir.file("control.sock");
    Server server{app, config, dir, nullptr, {"--set", "master.workers=3", "--set", control}};
    CHECK(server.wait_workers(3).size() == 3);
    const auto ctl = [&](const char* order) {
        return with(app, {"-c", server.config_path(), "--set", control, "ctl", order});
    };
    CHECK(has(ctl("reload").output, "generation 2 serves, 3 workers"));
    CHECK(ctl("upgrade").code == 0);
    REQUIRE(server.wait(later()));
    CHECK(has(ctl("status").output, "generation 3 serves"));
    CHECK(has(ctl("status").output, "worker 2: ready"));
    CHECK(ctl("quit").code == 0);
    const std::string path = saved(dir, "good.toml", config.text());
    CHECK(
        has(with(app, {"-c", path, "-g", "--set", "log.level=error"}).output, "level = \"error\""));
    const Finished bad = with(app, {"-c", path, "-t", "--set", "log.levle=error"});
    CHECK(bad.code == 1);
    CHECK(has(bad.error, "--set:1:5: error: unknown key `levle`"));
    const Finished broken = with(app, {"-c", path, "-t", "--set", "a=1\nb=2"});
    CHECK(broken.code == 1);
    CHECK(has(broken.error, "a line break has no place"));
    CHECK(with(app, {"-c", path, "-t", "--set"}).code == 1);
}

TEST_CASE("option -t reports every error with file, line and column and exits 1") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string path = saved(dir, "bad.toml",
                                   "[master]\nworkers = \"many\"\ndrain_timeout = 5\n" +
                                       std::string{"[[listener]]\naddress = \"127.0.0.1:0\"\n"
                                                   "service = \"echo\"\n"});
    const Finished finished = with(app, {"-t", "-c", path});
    INFO(finished.text());
    CHECK(finished.code == 1);
    CHECK(has(finished.error, path + ":2:"));
    CHECK(has(finished.error, path + ":3:"));
    CHECK(has(finished.error, "drain_timeout_ms"));  // what was probably meant
}

TEST_CASE("option -t refuses a service that the program does not have") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.listeners = {{"127.0.0.1:0", "nonsense"}};
    const Finished finished = with(app, {"-t", "-c", saved(dir, "bad.toml", config.text())});
    INFO(finished.text());
    CHECK(finished.code == 1);
    CHECK(has(finished.error, "nonsense"));
}

TEST_CASE("option -t and a start report a port that somebody else has") {
    const std::string app = echo_app();
    const TempDir dir;
    const OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    const Endpoint at = Endpoint::of_socket(taken.get());
    Config config;
    config.listeners = {{at.text()}};
    const std::string path = saved(dir, "taken.toml", config.text());
    for (const auto& arguments : {std::vector<std::string>{"-t", "-c", path}, {"-c", path}}) {
        const Finished finished = with(app, arguments);
        INFO(finished.text());
        CHECK(finished.code == 1);
        CHECK(has(finished.error, at.text()));
    }
}

TEST_CASE("option -t of the file of a running server passes and does not disturb it") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    std::optional<Server> first{std::in_place, app, config, dir};
    const Endpoint at = first->at("echo");
    first.reset();
    config.listeners = {{at.text()}, {"unix:" + dir.file("echo.sock")}};
    Server server{app, config, dir};
    Connection held = Connection::to(at);
    held.echo("before");
    const Finished finished = with(app, {"-t", "-c", server.config_path()});
    INFO(finished.text());
    CHECK(finished.code == 0);
    held.echo("after");
    Connection::to(at).echo("new");
    Connection::to(server.at("echo", "unix:")).echo("new");
    CHECK(read_file(dir.file("pid")) == std::to_string(server.master()) + "\n");
}

TEST_CASE("option -g prints the effective configuration, which -t accepts and -g repeats") {
    const std::string app = proxy_app();
    const TempDir dir;
    Config config;
    config.workers = 3;
    config.listeners = {{"127.0.0.1:0", "proxy"}, {"[::1]:0", "echo"}};
    config.upstreams = {"127.0.0.1:9000", "unix:/nowhere/upstream.sock"};
    const Finished first = with(app, {"-g", "-c", saved(dir, "given.toml", config.text())});
    INFO(first.text());
    REQUIRE(first.code == 0);
    CHECK(has(first.output, "workers = 3"));
    CHECK(has(first.output, "ready_timeout_ms"));  // not given: the default is shown
    CHECK(has(first.output, "/nowhere/upstream.sock"));

    const std::string printed = saved(dir, "printed.toml", first.output);
    const Finished tested = with(app, {"-t", "-c", printed});
    INFO(tested.text());
    CHECK(tested.code == 0);
    CHECK(with(app, {"-g", "-c", printed}).output == first.output);
}

TEST_CASE("option -V and --help answer and exit 0") {
    for (const std::string& app : {echo_app(), proxy_app()}) {
        const Finished version = with(app, {"-V"});
        CHECK(version.code == 0);
        CHECK(version.output.find_first_of("0123456789") != std::string::npos);
        const Finished help = with(app, {"--help"});
        INFO(help.text());
        CHECK(help.code == 0);
        for (const char* option : {"-c", "-t", "-g", "-V", "-s", "reload", "reopen"})
            CHECK(has(help.output, option));
    }
}

TEST_CASE("a wrong command line or a missing file exits 1 and says why") {
    const std::string app = echo_app();
    const TempDir dir;
    const std::string good = saved(dir, "good.toml", Config{}.text());
    const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
        {{"--nonsense"}, "--nonsense"},
        {{"-c", good, "surplus"}, "surplus"},
        {{"-c"}, "-c"},
        {{"-s", "dance", "-c", good}, "dance"},
        {{"-c", dir.file("missing.toml")}, dir.file("missing.toml")},
        {{"-t", "-c", dir.file("missing.toml")}, dir.file("missing.toml")},
        {{"-t", "-c", dir.path().string()}, dir.path().string()},
    };
    for (const auto& [arguments, part] : cases) {
        const Finished finished = with(app, arguments);
        INFO(part << ": " << finished.text());
        CHECK(finished.code == 1);
        CHECK(has(finished.error, part));
    }
}

TEST_CASE(
    "option -s reload, reopen and quit reach the master by its pid file, which goes at the end") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    config.log_target = dir.file("log");
    Server server{app, config, dir};
    CHECK(read_file(dir.file("pid")) == std::to_string(server.master()) + "\n");
    const auto send = [&](const std::string& command) {
        const Finished finished = with(app, {"-s", command, "-c", server.config_path()});
        INFO(command << ": " << finished.text());
        CHECK(finished.code == 0);
    };
    std::size_t mark = server.log().mark();
    send("reload");
    server.log().wait_for("reload: generation", mark);

    std::filesystem::rename(dir.file("log"), dir.file("log.1"));
    send("reopen");
    CHECK(eventually(soon(), [&] { return std::filesystem::exists(dir.file("log")); }));

    Connection held = Connection::to(server.at("echo"));
    held.echo("hello");
    send("quit");
    REQUIRE(eventually(soon(), [&] { return refuses(Endpoint::of_peer(held.fd())); }));
    held.echo("drains");
    held.close();
    CHECK(server.wait().value().code() == 0);
    CHECK_FALSE(std::filesystem::exists(dir.file("pid")));
}

TEST_CASE("option -s stop ends the server, with open connections") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    config.drain_timeout_ms = 500;
    Server server{app, config, dir};
    Connection held = Connection::to(server.at("echo"));
    held.echo("hello");
    CHECK(with(app, {"-s", "stop", "-c", server.config_path()}).code == 0);
    static_cast<void>(held.wait_gone());
    CHECK(server.wait().value().code() == 0);
}

TEST_CASE("option -s says so when no server runs, and never signals a stranger") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    const std::string path = dir.file("config.toml");
    const auto refused = [&](const std::string& why) {
        write_file(path, config.text());
        const Finished finished = with(app, {"-s", "stop", "-c", path});
        INFO(why << ": " << finished.text());
        CHECK(finished.code == 1);
        CHECK_FALSE(finished.error.empty());
    };
    refused("no pid_file is configured");
    config.pid_file = dir.file("pid");
    refused("there is no pid file");
    for (const char* content : {"", "nonsense\n", "0\n", "-1\n", "1x\n", "99999999999999\n"}) {
        write_file(dir.file("pid"), content);
        refused(std::string{"the pid file holds "} + content);
    }
    Child dead{{.argv = {"true"}}};
    CHECK(dead.wait());
    write_file(dir.file("pid"), std::to_string(dead.pid()) + "\n");
    refused("the process of the pid file is dead");
}

TEST_CASE("a second server with the pid file of a running one is refused") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    Server server{app, config, dir};
    const Finished second = with(app, {"-c", saved(dir, "second.toml", config.text())});
    INFO(second.text());
    CHECK(second.code == 1);
    CHECK(has(second.error, dir.file("pid")));
    CHECK(read_file(dir.file("pid")) == std::to_string(server.master()) + "\n");
}

TEST_CASE("a second server with the pid file of a running one does not touch its sockets") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.pid_file = dir.file("pid");
    const Server server{app, config, dir};
    // As the first one's are for a moment: bound, and nobody listens yet.
    const std::string echo = dir.file("echo.sock");
    const std::string control = dir.file("control.sock");
    const OwnedFd bound[] = {reserve(Endpoint::parse("unix:" + echo)),
                             reserve(Endpoint::parse("unix:" + control))};
    config.listeners[0].address = "unix:" + echo;
    config.control = control;
    const Finished second = with(app, {"-c", saved(dir, "second.toml", config.text())});
    INFO(second.text());
    CHECK(second.code == 1);
    CHECK(std::filesystem::exists(echo));
    CHECK(std::filesystem::exists(control));
}

}  // namespace
}  // namespace e2e
