// What a server says whose user may not have enough memory locked for its rings.
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
#include <string>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "files.h"
#include "io_uring.h"
#include "server.h"

namespace e2e {
namespace {

constexpr int workers = 2;
constexpr int connections = 100;
// A ring of the default size: header, submissions, completions, 256 entries for buffers, which is
// the power of two for two a connection. A reload has the rings of two generations.
constexpr rlim_t ring_bytes = 4 * 4'096 + 1'024 * 64 + 8'192 * 16 + 256 * 16;
constexpr rlim_t enough = 2 * workers * ring_bytes;
// A listener of datagrams has 4096 entries for their buffers beside that.
constexpr rlim_t enough_for_udp = 2 * workers * (ring_bytes + 4'096 * 16);

/// Has rings charged, as those of most users are: root without the capability is charged too.
bool limit_locked_memory(rlim_t bytes) {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return false;
    return ::geteuid() != 0 || ::prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) == 0;
}

Config small_config() {
    Config config;
    config.workers = workers;
    config.connections = connections;
    return config;
}

/// Returns what a server says that starts with so little memory to lock and then serves.
std::string said_by_server(const Config& config, bool (*limit)()) {
    const std::string app = echo_app();
    const TempDir dir;
    Server server{app, config, dir, limit};
    Connection::to(server.at("echo", "127.0.0.1")).echo("hello");
    return read_file(server.error_path());
}

// One test, since what two servers of a user lock counts together.
TEST_CASE(
    "a server that may not lock the memory for a reload warns at its start or at that, and "
    "serves") {
    if (io_uring_is_refused()) SKIP("no io_uring here, so no ring will be charged");
    const std::string said =
        said_by_server(small_config(), [] { return limit_locked_memory(enough - 1); });
    INFO(said);
    CHECK(said.find("2 workers and a reload beside them need 848KiB of locked memory") !=
          std::string::npos);
    CHECK(said.find("LimitMEMLOCK=") != std::string::npos);

    const std::string just_enough =
        said_by_server(small_config(), [] { return limit_locked_memory(enough); });
    INFO(just_enough);
    CHECK(just_enough.find("locked memory") == std::string::npos);

    Config with_udp = small_config();
    with_udp.listeners.push_back({.address = "127.0.0.2:0", .udp = true});
    const std::string short_for_udp =
        said_by_server(with_udp, [] { return limit_locked_memory(enough_for_udp - 1); });
    INFO(short_for_udp);
    CHECK(short_for_udp.find("2 workers and a reload beside them need 1104KiB of locked memory") !=
          std::string::npos);

    const TempDir dir;
    Config fewer = small_config();
    fewer.workers = 1;
    Server server{echo_app(), fewer, dir, [] { return limit_locked_memory(enough - 1); }};
    server.write_config(small_config().text());
    server.signal(SIGHUP);  // succeeds or not: what is left of the others' rings is charged, too
    const std::string warning = "2 workers and a reload beside them need 848KiB of locked memory";
    static_cast<void>(server.log().wait_for(warning));
    static_cast<void>(server.log().wait_for("generation 2"));
    CHECK(server.log().find(warning).size() == 1);
}

}  // namespace
}  // namespace e2e
