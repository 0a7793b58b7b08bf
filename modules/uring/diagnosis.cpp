module;
#include <fmt/format.h>
#include <liburing.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

constexpr std::uint64_t sqe_bytes = 64;
constexpr std::uint64_t cqe_bytes = 16;
constexpr std::uint64_t header_bytes = 4 * 4'096;  // found by trying limits on Linux 6.18

std::optional<int> read_disabled_sysctl() {
    std::ifstream file{"/proc/sys/kernel/io_uring_disabled"};
    int value = 0;
    if (file >> value) return value;
    return std::nullopt;
}

int read_seccomp_mode() {
    std::ifstream file{"/proc/self/status"};
    std::string word;
    int mode = 0;
    while (file >> word)
        if (word == "Seccomp:" && file >> mode) return mode;
    return 0;
}

/// Whether io_uring_setup(2) exists in this kernel, by its number: it came with 5.1.
bool predates_io_uring(const std::string& kernel) {
    int major = 0;
    int minor = 0;
    const char* const end = kernel.data() + kernel.size();
    const auto first = std::from_chars(kernel.data(), end, major);
    if (first.ec != std::errc{} || first.ptr == end) return false;
    std::from_chars(first.ptr + 1, end, minor);
    return major < 5 || (major == 5 && minor < 1);
}

Diagnosis diagnose_permission(const Facts& facts) {
    if (facts.disabled_sysctl.value_or(0) != 0)
        return {
            Cause::sysctl,
            fmt::format(
                "the system forbids io_uring (sysctl kernel.io_uring_disabled = {}). "
                "Run `sysctl kernel.io_uring_disabled=0`, or with 1 add the user to the group of "
                "kernel.io_uring_group.",
                *facts.disabled_sysctl)};
    if (facts.seccomp_mode == 2)
        return {
            Cause::seccomp,
            "a seccomp filter refuses io_uring, as the default profiles of Docker and containerd "
            "do. "
            "Allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp "
            "profile (docker run --security-opt seccomp=PROFILE.json)."};
    return {Cause::security_module,
            "a security module (SELinux, AppArmor or another) refuses io_uring. Allow it for this "
            "program "
            "in the module's policy; the audit log names the rule."};
}

}  // namespace

Facts gather_facts(std::uint32_t submissions, std::uint32_t completions,
                   std::uint32_t max_receive_buffers, std::uint32_t max_message_buffers) {
    Facts facts;
    facts.disabled_sysctl = read_disabled_sysctl();
    facts.seccomp_mode = read_seccomp_mode();
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) facts.memlock_limit = limit.rlim_cur;
    facts.memlock_needed = header_bytes + std::bit_ceil(submissions) * sqe_bytes +
                           std::bit_ceil(completions) * cqe_bytes +
                           std::bit_ceil(max_receive_buffers) * sizeof(io_uring_buf);
    if (max_message_buffers > 0)
        facts.memlock_needed += std::bit_ceil(max_message_buffers) * sizeof(io_uring_buf);
    utsname name{};
    if (::uname(&name) == 0) facts.kernel = static_cast<const char*>(name.release);
    return facts;
}

Diagnosis diagnose(const Error& error, const Facts& facts) {
    if (!error.step().starts_with("io_uring")) {
        std::string text = error.text() + ".";
        if (error.is(std::errc::not_enough_memory))
            text +=
                " The address space of the receive buffers cannot be had: lower worker.connections "
                "or worker.receive_buffer_size, or raise the limit (`ulimit -v`).";
        return {Cause::other, text};
    }
    if (error.is(std::errc::operation_not_permitted) || error.is(std::errc::permission_denied))
        return diagnose_permission(facts);
    if (error.is(std::errc::function_not_supported)) {
        if (!predates_io_uring(facts.kernel) && facts.seccomp_mode == 2)
            return diagnose_permission(facts);
        return {Cause::old_kernel,
                fmt::format("kernel {} has no io_uring. Ringfort needs Linux 6.1 or newer.",
                            facts.kernel)};
    }
    if (error.is(std::errc::invalid_argument))
        return {
            Cause::old_kernel,
            fmt::format(
                "kernel {} lacks an io_uring feature that Ringfort needs. Run Linux 6.1 or newer.",
                facts.kernel)};
    if (error.is(std::errc::not_enough_memory))
        return {
            Cause::memlock,
            fmt::format(
                "locked memory is used up: one ring needs {} bytes and RLIMIT_MEMLOCK is {} bytes "
                "for all processes of the user together. Raise it (`ulimit -l`, LimitMEMLOCK= in "
                "the unit) to at least twice the need of all workers, or start as root and set "
                "master.user.",
                facts.memlock_needed, facts.memlock_limit)};
    if (error.is(std::errc::too_many_files_open) ||
        error.is(std::errc::too_many_files_open_in_system))
        return {
            Cause::descriptors,
            "no file descriptor is left for the ring. Raise master.open_files or the hard limit "
            "(`ulimit -Hn`, LimitNOFILE= in the unit)."};
    return {Cause::other, error.text() + "."};
}

std::vector<std::string> Loop::shortcomings() const {
    std::vector<std::string> texts;
    if (driver_.refusal())
        texts.push_back(
            "no io_uring, so epoll is used: more system calls and CPU per request, and "
            "files block the worker. " +
            diagnose(*driver_.refusal(), gather_facts(1, 1, 1)).text);
    if (backend() != Backend::io_uring) return texts;
    for (const std::string_view lack : consequences(features()))
        texts.push_back("io_uring does less here than it can: " + std::string{lack});
    if (!driver_.has_alarm())
        texts.emplace_back(
            "the clock of this time namespace is not the machine's: waits are limited one by one, "
            "for more CPU per request where there are few connections");
    return texts;
}

}  // namespace ringfort::uring
