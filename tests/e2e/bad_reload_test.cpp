// Reloads that cannot succeed.
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "endpoint.h"
#include "files.h"
#include "load.h"
#include "log_file.h"
#include "owned_fd.h"
#include "server.h"

namespace e2e {
namespace {

/// Lets a reload fail and checks that nothing changed for anybody. Returns what the log says.
std::string refuse(Server& server, const std::string& config) {
    const Endpoint endpoint = server.at("echo");
    const std::vector<pid_t> before = server.workers();
    Connection held = Connection::to(endpoint);
    held.echo("before");
    const std::size_t mark = server.log().mark();
    server.write_config(config);
    static_cast<void>(server.reload_expecting_failure());
    held.echo("after");
    Connection::to(endpoint).echo("hello");
    CHECK(server.wait_workers(before.size()) == before);
    return server.log().text().substr(mark);
}

/// Counts the lines up to the first that contains `part`, from 1.
int line_of(const std::string& text, const std::string& part) {
    const std::size_t at = text.find(part);
    REQUIRE(at != std::string::npos);
    int line = 1;
    for (std::size_t i = 0; i < at; ++i) line += text[i] == '\n' ? 1 : 0;
    return line;
}

TEST_CASE("a reload of a bad file reports file, line and column and changes nothing") {
    const std::string app = echo_app();
    const TempDir dir;
    const Config good;
    Server server{app, good, dir};
    Load load{server.at("echo"), 2};

    const auto place = [&](const std::string& text, const std::string& part) {
        return server.config_path() + ":" + std::to_string(line_of(text, part)) + ":";
    };
    const std::string broken = good.text() + "\n[[listener]\n";
    CHECK(refuse(server, broken).find(server.config_path() + ":") != std::string::npos);

    const std::string unknown = good.text() + "\n[worker]\nconections = 5\n";
    const std::string said = refuse(server, unknown);
    INFO(said);
    CHECK(said.find(place(unknown, "conections")) != std::string::npos);
    CHECK(said.find("conections") != std::string::npos);

    const std::string wrong_type = "[worker]\nconnections = \"many\"\n" + good.text();
    CHECK(refuse(server, wrong_type).find(place(wrong_type, "connections")) != std::string::npos);

    const std::string two = "[worker]\nconections = 5\nnonsense = 1\n" + good.text();
    const std::size_t mark = server.log().mark();
    const std::string first = refuse(server, two);
    const std::string both = first + server.log().wait_for(place(two, "nonsense"), mark);
    INFO(both);
    CHECK(both.find(place(two, "conections")) != std::string::npos);
    CHECK(both.find(place(two, "nonsense")) != std::string::npos);

    server.write_config(good.text());
    CHECK(server.reload() > 1);
    CHECK(load.wait_for_more(20));
    load.stop();
    INFO(load.text());
    CHECK(load.failed() == 0);
}

TEST_CASE("a reload that finds its file gone changes nothing") {
    const std::string app = echo_app();
    const TempDir dir;
    const Config good;
    Server server{app, good, dir};
    std::filesystem::remove(server.config_path());
    CHECK(server.reload_expecting_failure().find("reload failed") != std::string::npos);
    Connection::to(server.at("echo")).echo("still here");
    server.write_config(good.text());
    CHECK(server.reload() > 1);
}

TEST_CASE("a reload that wants a taken port changes nothing, and works once the port is free") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    Server server{app, config, dir};
    OwnedFd taken = listen_on(Endpoint::parse("127.0.0.1:0"));
    const Endpoint at = Endpoint::of_socket(taken.get());
    config.listeners.push_back({at.text()});
    const std::string said = refuse(server, config.text());
    INFO(said);
    CHECK(said.find(at.text()) != std::string::npos);

    taken.close();
    CHECK(server.reload() > 1);
    Connection::to(at).echo("now it is ours");
    Connection::to(server.at("echo")).echo("both are");
}

}  // namespace
}  // namespace e2e
