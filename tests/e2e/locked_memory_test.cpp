// What a server says whose user may not have enough memory locked for its rings.
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <string>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "files.h"
#include "server.h"

namespace e2e {
namespace {

constexpr int workers = 2;
constexpr int connections = 100;
// A ring of the default size: header, submissions, completions, 256 entries for buffers, which is
// the power of two for two a connection. A reload has the rings of two generations.
constexpr rlim_t ring_bytes = 4 * 4'096 + 1'024 * 64 + 8'192 * 16 + 256 * 16;
constexpr rlim_t enough = 2 * workers * ring_bytes;

bool io_uring_is_refused() {
    return ::syscall(SYS_io_uring_setup, 0, nullptr) < 0 && errno != EFAULT;
}

/// Has rings charged, as those of most users are: root without the capability is charged too.
bool limit_locked_memory(rlim_t bytes) {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
    if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0) return false;
    return ::geteuid() != 0 || ::prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0) == 0;
}

/// Returns what a server says that starts with so little memory to lock and then serves.
std::string said_by_server(bool (*limit)()) {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.workers = workers;
    config.connections = connections;
    Server server{app, config, dir, limit};
    Connection::to(server.at("echo")).echo("hello");
    return read_file(server.error_path());
}

// One test, since what two servers of a user lock counts together.
TEST_CASE("a server that may not lock the memory for a reload warns at its start, and serves") {
    if (io_uring_is_refused()) SKIP("no io_uring here, so no ring will be charged");
    const std::string said = said_by_server([] { return limit_locked_memory(enough - 1); });
    INFO(said);
    CHECK(said.find("2 workers and a reload beside them need 848KiB of locked memory") !=
          std::string::npos);
    CHECK(said.find("LimitMEMLOCK=") != std::string::npos);

    const std::string just_enough = said_by_server([] { return limit_locked_memory(enough); });
    INFO(just_enough);
    CHECK(just_enough.find("locked memory") == std::string::npos);
}

}  // namespace
}  // namespace e2e
