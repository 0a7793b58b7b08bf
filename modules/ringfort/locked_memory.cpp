module;
#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
module ringfort;

import ringfort.base;

namespace ringfort {
namespace {

constexpr std::uint64_t generations = 2;  // the old one drains while the new one serves

/// As capable(CAP_IPC_LOCK) in io_uring_create of the kernel, but for user namespaces: their root
/// has the capability and is charged all the same.
bool has_ipc_lock() noexcept {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
    if (::syscall(SYS_capget, &header, sets.data()) != 0) return false;
    return (sets[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

/// The kernel decides whether there is io_uring for us before it looks at the arguments.
bool io_uring_is_refused() noexcept {
    return ::syscall(SYS_io_uring_setup, 0, nullptr) < 0 &&
           (errno == EPERM || errno == EACCES || errno == ENOSYS);
}

}  // namespace

std::optional<std::string> shortage_of(const LockedMemory& memory) {
    const std::uint64_t needed = generations * memory.workers * memory.ring_bytes;
    if (memory.limit_bytes >= needed) return std::nullopt;
    return fmt::format(
        "{} workers and a reload beside them need {} of locked memory; RLIMIT_MEMLOCK is {} for "
        "all processes of the user. Raise it (`ulimit -l`, LimitMEMLOCK= in the unit), lower "
        "master.workers, worker.ring_completions or worker.connections, or start as root with "
        "CAP_IPC_LOCK and set master.user.",
        memory.workers, Bytes{needed}.text(), Bytes{memory.limit_bytes}.text());
}

bool rings_are_charged() noexcept {
    return !has_ipc_lock() && !io_uring_is_refused();
}

}  // namespace ringfort
