#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "child.h"
#include "connection.h"
#include "datagrams.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "log_file.h"

namespace e2e {
namespace {

const std::string readme_server = EXAMPLES "readme_server";
const std::string guide_greeter = EXAMPLES "guide_greeter";
const std::string guide_motto = EXAMPLES "guide_motto";
const std::string guide_ruler = EXAMPLES "guide_ruler";

using Replacements = std::initializer_list<std::pair<std::string_view, std::string>>;

/// Replaces what must be in the text.
std::string replaced(std::string text, const Replacements& replacements) {
    for (const auto& [from, to] : replacements) {
        INFO(from);
        const auto at = text.find(from);
        REQUIRE(at != text.npos);
        text.replace(at, from.size(), to);
    }
    return text;
}

/// Returns an example's configuration with a port that the kernel picks.
std::string configuration(const std::string& program) {
    return replaced(read_file(program + ".toml"), {{"127.0.0.1:7000", "127.0.0.1:0"}});
}

Endpoint listener(LogFile& log) {
    constexpr std::string_view before = "listening on ";
    const std::string line = log.wait_for(before, 0, later());
    const auto begin = line.find(before) + before.size();
    return Endpoint::parse(line.substr(begin, line.find(' ', begin) - begin));
}

/// Reloads and waits until nobody of the first generation is left who could still accept.
void reload(LogFile& log, const std::function<void()>& order) {
    const std::string line = log.wait_for("ready: generation 1, ", 0, later());
    const auto workers = std::stoul(line.substr(line.find("generation 1, ") + 14));
    order();
    CHECK_NOTHROW(log.wait_for("reload: generation 2 serves", 0, later()));
    CHECK(eventually(
        later(), [&] { return log.find("of generation 1 exited with code 0").size() == workers; }));
}

void end(Child& server, const LogFile& log) {
    server.signal(SIGTERM);
    const auto status = server.wait(later());
    INFO(log.text());
    REQUIRE(status);
    CHECK(status->code() == 0);
}

TEST_CASE("the server of README.md serves with its configuration, reloads and ends") {
    const TempDir dir;
    write_file(dir.file("server.toml"), configuration(readme_server));
    Child server{
        {.argv = {readme_server, "-c", dir.file("server.toml")}, .error_path = dir.file("log")}};
    LogFile log{dir.file("log")};
    Connection peer = Connection::to(listener(log), later());
    peer.echo("hi\n", later());
    peer.close();

    reload(log, [&] { server.signal(SIGHUP); });
    Connection next = Connection::to(listener(log), later());
    next.echo("hi again\n", later());
    next.shutdown_write();
    next.expect_end(later());
    end(server, log);
}

TEST_CASE("the server of README.md finds its configuration good and answers --help") {
    const TempDir dir;
    write_file(dir.file("server.toml"), configuration(readme_server));
    const Finished tested = run({readme_server, "-t", "-c", dir.file("server.toml")}, "", later());
    INFO(tested.text());
    CHECK(tested.code == 0);
    CHECK(run({readme_server, "--help"}, "", later()).code == 0);
}

TEST_CASE("the greeter of the guide counts on across a reload, as the guide shows") {
    const TempDir dir;
    const std::string path = dir.file("greeter.toml");
    const std::string text = replaced(
        configuration(guide_greeter),
        {{"greeter.pid", dir.file("greeter.pid")}, {"greeter.log", dir.file("greeter.log")}});
    write_file(path, text);
    Child server{{.argv = {guide_greeter, "-c", path}, .error_path = dir.file("error")}};
    LogFile log{dir.file("greeter.log")};
    const Endpoint at = listener(log);
    CHECK(Connection::to(at, later()).receive_to_end(later()) == "hello 1\n");
    CHECK(Connection::to(at, later()).receive_to_end(later()) == "hello 2\n");

    write_file(path, replaced(text, {{R"("hello")", R"("welcome")"}}));
    reload(log,
           [&] { CHECK(run({guide_greeter, "-c", path, "-s", "reload"}, "", later()).code == 0); });
    CHECK(Connection::to(at, later()).receive_to_end(later()) == "welcome 3\n");
    end(server, log);
}

/// Asks all workers, as good as: more clients than one of four would be missed by.
bool all_say(const Endpoint& at, const std::string& motto) {
    for (int i = 0; i < 40; ++i) {
        Connection client = Connection::to(at, later());
        client.send("?\n", later());
        client.shutdown_write();
        if (client.receive_to_end(later()) != motto) return false;
    }
    return true;
}

TEST_CASE("the server of the guide about siblings tells all workers what one was told") {
    const TempDir dir;
    const std::string path = dir.file("motto.toml");
    write_file(path, configuration(guide_motto));
    Child server{{.argv = {guide_motto, "-c", path}, .error_path = dir.file("log")}};
    LogFile log{dir.file("log")};
    const Endpoint at = listener(log);
    CHECK(all_say(at, "none yet\n"));
    for (const std::string motto : {"festina lente\n", "carpe diem\n"}) {
        Connection client = Connection::to(at, later());
        client.echo(motto, later());
        CHECK(eventually(later(), [&] { return all_say(at, motto); }));
    }
    end(server, log);
}

TEST_CASE("the server of the guide about datagrams says how long they are") {
    const TempDir dir;
    const std::string path = dir.file("ruler.toml");
    write_file(path, configuration(guide_ruler));
    Child server{{.argv = {guide_ruler, "-c", path}, .error_path = dir.file("log")}};
    LogFile log{dir.file("log")};
    const DatagramClient client{listener(log)};
    CHECK(client.ask("hello", later()) == "5 bytes\n");
    reload(log, [&] { server.signal(SIGHUP); });
    CHECK(client.ask("hello again", later()) == "11 bytes\n");
    end(server, log);
}

}  // namespace
}  // namespace e2e
