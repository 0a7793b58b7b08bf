// Where and how often workers run.
#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <string>
#include <vector>

#include "apps.h"
#include "config.h"
#include "connection.h"
#include "files.h"
#include "processes.h"
#include "server.h"

namespace e2e {
namespace {

TEST_CASE("a worker keeps to its processor and its priority") {
    const std::string app = echo_app();
    const TempDir dir;
    Config config;
    config.affinity = "auto";
    const int own = ::getpriority(PRIO_PROCESS, 0);
    config.nice = std::min(own + 5, 19);
    Server server{app, config, dir};
    std::set<std::string> processors;
    for (const pid_t pid : server.wait_workers(2)) {
        CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(pid)) == *config.nice);
        const std::string allowed = status_of(pid, "Cpus_allowed_list");
        CHECK(allowed.find_first_not_of("0123456789") == std::string::npos);
        processors.insert(allowed);
    }
    const std::string all = status_of(server.master(), "Cpus_allowed_list");
    if (all.find_first_of(",-") != all.npos) CHECK(processors.size() == 2);
    CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(server.master())) == own);
    Connection::to(server.at("echo")).echo("hello");
}

}  // namespace
}  // namespace e2e
