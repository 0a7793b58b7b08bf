// Clients that nobody here wrote.
#include <catch2/catch_test_macros.hpp>
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
#include "pattern.h"
#include "server.h"

namespace e2e {
namespace {

Config proxy_to(const Endpoint& upstream) {
    Config config;
    config.listeners = {{"127.0.0.1:0", "proxy"}};
    config.upstreams = {upstream.text()};
    return config;
}

/// Returns a port that was free a moment ago, for programs that cannot pick one themselves.
Endpoint free_port() {
    const OwnedFd reserved = reserve(Endpoint::parse("127.0.0.1:0"));
    return Endpoint::of_socket(reserved.get());
}

TEST_CASE("nc gets its input back from the echo") {
    const std::string app = echo_app();
    if (!installed("nc")) SKIP("nc is not installed");
    if (run({"nc", "-h"}).text().find("OpenBSD") == std::string::npos)
        SKIP("this nc is not OpenBSD's: no option to close one half at the end of its input");
    const TempDir dir;
    Config config;
    config.listeners = {{"127.0.0.1:0"}, {"unix:" + dir.file("echo.sock")}};
    Server server{app, config, dir};
    const Endpoint tcp = server.at("echo", "127.0.0.1");
    const std::string input = Pattern{1}.bytes(3'000'000);
    const Finished over_tcp =
        run({"nc", "-N", "127.0.0.1", std::to_string(tcp.port())}, input, later());
    CHECK(over_tcp.code == 0);
    CHECK((over_tcp.output == input));
    const Finished over_unix = run({"nc", "-NU", dir.file("echo.sock")}, input, later());
    CHECK(over_unix.code == 0);
    CHECK((over_unix.output == input));
}

TEST_CASE("iperf3 runs through the proxy in both directions over parallel streams") {
    const std::string app = proxy_app();
    if (!installed("iperf3")) SKIP("iperf3 is not installed");
    const TempDir dir;
    const Endpoint at = free_port();
    Child iperf{{.argv = {"iperf3", "--server", "--bind", "127.0.0.1", "--port",
                          std::to_string(at.port()), "--forceflush"},
                 .output_path = dir.file("iperf.log"),
                 .error_path = dir.file("iperf.log")}};
    LogFile{dir.file("iperf.log")}.wait_for("Server listening");
    Server server{app, proxy_to(at), dir};
    const std::string port = std::to_string(server.at("proxy").port());
    const std::vector<std::string> upwards = {"iperf3",     "--client", "127.0.0.1", "--port", port,
                                              "--parallel", "4",        "--bytes",   "200M"};
    std::vector<std::string> downwards = upwards;
    downwards.emplace_back("--reverse");
    for (const auto& argv : {upwards, downwards}) {
        const Finished finished = run(argv, "", later());
        INFO(finished.text());
        CHECK(finished.code == 0);
        CHECK(finished.output.find("[SUM]") != std::string::npos);
        CHECK(finished.output.find("receiver") != std::string::npos);
    }
}

TEST_CASE("redis-benchmark runs through the proxy, and redis has what was sent") {
    const std::string app = proxy_app();
    if (!installed("redis-server") || !installed("redis-benchmark"))
        SKIP("redis-server or redis-benchmark is not installed");
    const TempDir dir;
    const Endpoint at = Endpoint::parse("unix:" + dir.file("redis.sock"));
    Child redis{
        {.argv = {"redis-server", "--port", "0", "--unixsocket", at.unix_path(), "--save", "",
                  "--appendonly", "no", "--daemonize", "no", "--dir", dir.path().string()},
         .output_path = dir.file("redis.log"),
         .error_path = dir.file("redis.log")}};
    LogFile{dir.file("redis.log")}.wait_for("eady to accept connections");
    Server server{app, proxy_to(at), dir};
    const std::string port = std::to_string(server.at("proxy").port());
    const Finished finished =
        run({"redis-benchmark", "-h", "127.0.0.1", "-p", port, "-n", "20000", "-c", "50", "-P", "4",
             "-d", "1000", "-t", "set,get,lpush", "-q"},
            "", later());
    INFO(finished.text());
    CHECK(finished.code == 0);
    for (const char* command : {"SET:", "GET:", "LPUSH:"})
        CHECK(finished.output.find(command) != std::string::npos);
    CHECK(finished.text().find("rror") == std::string::npos);

    Connection client = Connection::to(server.at("proxy"));
    client.send("LLEN mylist\r\n");
    client.shutdown_write();
    const std::string length = client.receive_to_end();
    REQUIRE(length.starts_with(':'));
    CHECK(std::stoi(length.substr(1)) >= 20'000);
}

}  // namespace
}  // namespace e2e
