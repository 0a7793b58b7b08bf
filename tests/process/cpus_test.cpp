#include <catch2/catch_test_macros.hpp>

#include <sched.h>
#include <sys/resource.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort::process;
using Quota = std::optional<std::uint32_t>;
using Files = std::map<std::string, std::string>;

Quota quota_in(const Files& files, const std::string& self_cgroup) {
    return cgroup_cpu_quota(self_cgroup, [&](const std::string& path) {
        const auto file = files.find(path);
        return file == files.end() ? std::nullopt : std::optional{file->second};
    });
}

}  // namespace

TEST_CASE("a quota is read in processors, rounded up") {
    CHECK(parse_cpu_max("100000 100000\n") == 1);
    CHECK(parse_cpu_max("150000 100000\n") == 2);
    CHECK(parse_cpu_max("1000 100000\n") == 1);
    CHECK(parse_cpu_max("400000 100000") == 4);
    CHECK(parse_cpu_max("18446744073709551615 1\n") == UINT32_MAX);
    CHECK(parse_cfs_quota("250000\n", "100000\n") == 3);
}

TEST_CASE("no quota and malformed quotas do not limit") {
    for (const char* text :
         {"max 100000\n", "max\n", "", "\n", " ", "100000", "100000 \n", "0 100000\n", "100000 0\n",
          "-1 100000\n", "1e5 100000\n", "100000 100000 1\n", "99999999999999999999 1\n"})
        CHECK(parse_cpu_max(text) == std::nullopt);
    CHECK(parse_cfs_quota("-1\n", "100000\n") == std::nullopt);
    CHECK(parse_cfs_quota("", "") == std::nullopt);
}

TEST_CASE("the tightest quota on the way up to the root counts") {
    const Files files{{"/sys/fs/cgroup/a/b/cpu.max", "max 100000\n"},
                      {"/sys/fs/cgroup/a/cpu.max", "300000 100000\n"},
                      {"/sys/fs/cgroup/../elsewhere/cpu.max", "100000 100000\n"},
                      {"/sys/fs/cgroup/cpu.max", "700000 100000\n"}};
    CHECK(quota_in(files, "0::/a/b\n") == 3);
    CHECK(quota_in(files, "0::/a\n") == 3);
    CHECK(quota_in(files, "0::/other\n") == 7);
    CHECK(quota_in(files, "0::/\n") == 7);
    CHECK(quota_in(files, "0::/../elsewhere\n") == 7);
    CHECK(quota_in({}, "0::/a/b\n") == std::nullopt);
}

TEST_CASE("a container that sees the host's path reads the root of its own mount") {
    const Files files{{"/sys/fs/cgroup/cpu.max", "50000 100000\n"}};
    CHECK(quota_in(files, "0::/system.slice/docker-0123.scope\n") == 1);
}

TEST_CASE("version 1 is read where its controllers are mounted, together or alone") {
    const std::string self = "12:cpuset:/x\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/init\n";
    const Files joint{{"/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us", "200000\n"},
                      {"/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us", "100000\n"},
                      {"/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n"},
                      {"/sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n"}};
    CHECK(quota_in(joint, self) == 2);
    const Files single{{"/sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us", "500000\n"},
                       {"/sys/fs/cgroup/cpu/docker/cpu.cfs_period_us", "100000\n"},
                       {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"},
                       {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}};
    CHECK(quota_in(single, self) == 5);
    CHECK(quota_in({}, self) == std::nullopt);
}

TEST_CASE("a malformed list of cgroups does not limit") {
    for (const char* text : {"", "\n", ":", "::", "0", "0:", "0::", "x:cpu", "4:cpu:"})
        CHECK(quota_in({}, text) == std::nullopt);
}

TEST_CASE("the processors available are at least one and at most those of the affinity mask") {
    const auto all = available_cpus();
    CHECK(all >= 1);
    CHECK(in_child([] {
              cpu_set_t set;
              ::sched_getaffinity(0, sizeof set, &set);
              int first = 0;
              while (!CPU_ISSET(first, &set)) ++first;
              CPU_ZERO(&set);
              CPU_SET(first, &set);
              ::sched_setaffinity(0, sizeof set, &set);
              return std::to_string(available_cpus());
          }) == "1");
}

TEST_CASE("a process stays on the processor that its number tells, counted around") {
    const auto own = [](std::uint32_t index) {
        return in_child([index] {
            const auto cpu = stay_on_processor(index);
            return cpu ? std::to_string(*cpu) + " of " + std::to_string(available_cpus()) : "";
        });
    };
    std::set<std::string> seen;
    cpu_set_t set;
    REQUIRE(::sched_getaffinity(0, sizeof set, &set) == 0);
    const auto count = static_cast<std::uint32_t>(CPU_COUNT(&set));
    for (std::uint32_t index = 0; index < count; ++index) {
        CHECK(own(index).ends_with(" of 1"));
        seen.insert(own(index));
        CHECK(own(index) == own(index + count));
    }
    CHECK(seen.size() == count);
}

TEST_CASE("a priority is set for the process that asks, and no other") {
    const int own = ::getpriority(PRIO_PROCESS, 0);
    if (own == 19) SKIP("this process is the last already");
    CHECK(in_child([own] {
              const auto set = set_nice(own + 1);
              return std::to_string(set ? ::getpriority(PRIO_PROCESS, 0) : -100);
          }) == std::to_string(own + 1));
    CHECK(::getpriority(PRIO_PROCESS, 0) == own);
}
