#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cerrno>

import ringfort.base;
import ringfort.uring;

using namespace ringfort;
using Catch::Matchers::ContainsSubstring;
using uring::Cause;

namespace {
uring::Diagnosis diagnose(int error_number, const uring::Facts& facts) {
    return uring::diagnose(Error{"io_uring_setup", error_number}, facts);
}
}  // namespace

TEST_CASE("a refusal by the sysctl is told from one by seccomp and from a security module") {
    const auto sysctl =
        diagnose(EPERM, {.disabled_sysctl = 2, .seccomp_mode = 2, .kernel = "6.18.0"});
    CHECK(sysctl.cause == Cause::sysctl);
    CHECK_THAT(sysctl.text, ContainsSubstring("sysctl kernel.io_uring_disabled=0"));

    const auto seccomp =
        diagnose(EPERM, {.disabled_sysctl = 0, .seccomp_mode = 2, .kernel = "6.18.0"});
    CHECK(seccomp.cause == Cause::seccomp);
    CHECK_THAT(seccomp.text,
               ContainsSubstring("io_uring_setup, io_uring_enter and io_uring_register"));

    CHECK(diagnose(EPERM, {.disabled_sysctl = 0, .kernel = "6.18.0"}).cause ==
          Cause::security_module);
    CHECK(diagnose(EACCES, {.disabled_sysctl = 0, .kernel = "6.18.0"}).cause ==
          Cause::security_module);
}

TEST_CASE("a missing system call is an old kernel, unless a filter of a new one hides it") {
    CHECK(diagnose(ENOSYS, {.seccomp_mode = 0, .kernel = "4.19.0-27-amd64"}).cause ==
          Cause::old_kernel);
    CHECK(diagnose(ENOSYS, {.seccomp_mode = 2, .kernel = "4.19.0"}).cause == Cause::old_kernel);
    CHECK(diagnose(ENOSYS, {.seccomp_mode = 2, .kernel = "6.1.0-40-amd64"}).cause ==
          Cause::seccomp);
    CHECK(diagnose(EINVAL, {.kernel = "5.10.0"}).cause == Cause::old_kernel);
}

TEST_CASE("used up locked memory is told with the need and the limit") {
    const auto memlock =
        diagnose(ENOMEM, {.memlock_limit = 65'536, .memlock_needed = 196'608, .kernel = "6.1.0"});
    CHECK(memlock.cause == Cause::memlock);
    CHECK_THAT(memlock.text, ContainsSubstring("196608 bytes") && ContainsSubstring("65536 bytes"));
}

TEST_CASE("the facts of this machine are read") {
    const auto facts = uring::gather_facts(1'000, 8'192, 20'000);
    CHECK_FALSE(facts.kernel.empty());
    CHECK(facts.memlock_limit > 0);
    CHECK(facts.memlock_needed == 16'384 + 1'024 * 64 + 8'192 * 16 + 32'768 * 16);
    const auto with_datagrams = uring::gather_facts(1'000, 8'192, 20'000, 4'000);
    CHECK(with_datagrams.memlock_needed == facts.memlock_needed + 4'096 * 16);
}
