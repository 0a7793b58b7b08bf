#include <catch2/catch_test_macros.hpp>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort::process;

std::string set_to(std::uint64_t wanted) {
    const auto result = set_open_files(wanted);
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    if (!result) return result.error().text();
    return std::to_string(*result) + (*result == limit.rlim_cur ? " " : " (not in force) ");
}

void set_limits(rlim_t soft, rlim_t hard) {
    const rlimit limit{soft, hard};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(99);
}

}  // namespace

TEST_CASE("the number of open files is set to what is wanted, up or down") {
    CHECK(in_child([] {
              set_limits(64, 256);
              return set_to(100) + set_to(80) + set_to(0) + set_to(32) + set_to(256);
          }) == "100 80 256 32 256 ");
}

TEST_CASE("more files than the hard limit need a privilege; without it the hard limit is given") {
    CHECK(in_child([]() -> std::string {
              if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
              set_limits(64, 256);
              return set_to(1'000);
          }) == "256 ");
}

TEST_CASE("a process with the privilege raises the hard limit") {
    constexpr std::uint64_t cap_sys_resource = 1U << 24;
    if ((std::stoull(status_line("CapEff"), nullptr, 16) & cap_sys_resource) == 0)
        SKIP("no CAP_SYS_RESOURCE here, not even for root");
    CHECK(in_child([] {
              set_limits(64, 256);
              return set_to(1'000);
          }) == "1000 ");
}

TEST_CASE("a number past the system's own bound gives the hard limit") {
    CHECK(in_child([] {
              set_limits(64, 256);
              return set_to(std::uint64_t{1} << 40);  // fs.nr_open is at most 2^31
          }) == "256 ");
}

TEST_CASE("the size of a core is set as far as the hard limit goes") {
    CHECK(in_child([]() -> std::string {
              if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
              const rlimit limit{100, 4'096};
              if (::setrlimit(RLIMIT_CORE, &limit) != 0) return "setrlimit";
              std::string text;
              for (const std::uint64_t wanted : {2'000U, 0U, 4'096U, 8'192U}) {
                  const auto set = ringfort::process::set_core_size(wanted);
                  rlimit now{};
                  ::getrlimit(RLIMIT_CORE, &now);
                  text += set ? std::to_string(*set) : set.error().text();
                  text += *set == now.rlim_cur ? " " : " is not in force ";
              }
              return text;
          }) == "2000 0 4096 4096 ");
}

TEST_CASE("a process that has changed its user can be made dumpable again") {
    if (::geteuid() != 0) SKIP("only root can become another user");
    CHECK(in_child([]() -> std::string {
              if (::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
              const int before = ::prctl(PR_GET_DUMPABLE);
              if (!ringfort::process::make_dumpable()) return "refused";
              return (before == 1 ? "1 " : "no ") + std::to_string(::prctl(PR_GET_DUMPABLE));
          }) == "no 1");
}
