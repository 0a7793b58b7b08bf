module;
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <utility>
module ringfort.process;

import ringfort.base;

namespace ringfort::process {
namespace {

constexpr std::uint64_t reading = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t writing = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |
                                  LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                                  LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                  LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER;
/// Those that a file has, and not only a folder.
constexpr std::uint64_t of_files =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;

/// Returns all rights over files that a version knows: what is not named is not restricted.
std::uint64_t file_rights(int abi) noexcept {
    std::uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1U) - 1;  // version 1, from bit 0 on
    if (abi >= 2) rights |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3) rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 5) rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    return rights;
}

Result<void> add_rule(const Fd& ruleset, landlock_rule_type type, const void* rule) {
    if (::syscall(SYS_landlock_add_rule, ruleset.get(), type, rule, 0) != 0)
        return Error::last("landlock_add_rule");
    return {};
}

}  // namespace

int Landlock::abi() noexcept {
    const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, std::size_t{0},
                                   LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? 0 : static_cast<int>(version);
}

Result<Landlock> Landlock::create(const LandlockOptions& options) {
    const int abi = Landlock::abi();
    landlock_ruleset_attr attributes{};
    attributes.handled_access_fs = file_rights(abi);
    if (abi >= ports_abi) {
        attributes.handled_access_net = LANDLOCK_ACCESS_NET_BIND_TCP;
        if (options.connections) attributes.handled_access_net |= LANDLOCK_ACCESS_NET_CONNECT_TCP;
    }
    if (abi >= scopes_abi) {
        attributes.scoped = LANDLOCK_SCOPE_SIGNAL;
        if (options.abstract_sockets) attributes.scoped |= LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET;
    }
    // An older kernel takes the longer struct as long as what it does not know is 0.
    Fd ruleset{static_cast<RawFd>(
        ::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0))};
    if (!ruleset) return Error::last("landlock_create_ruleset");
    return Landlock{std::move(ruleset), abi, abi >= ports_abi && options.connections};
}

Result<void> Landlock::allow(const std::string& path, std::uint64_t rights) {
    const Fd place{::open(path.c_str(), O_PATH | O_CLOEXEC)};
    if (!place) return Error::last("open");
    struct stat status{};
    if (::fstat(place.get(), &status) != 0) return Error::last("fstat");
    if (!S_ISDIR(status.st_mode)) rights &= of_files;
    const landlock_path_beneath_attr rule{.allowed_access = rights & file_rights(abi_),
                                          .parent_fd = place.get()};
    return add_rule(ruleset_, LANDLOCK_RULE_PATH_BENEATH, &rule);
}

Result<void> Landlock::allow_reading(const std::string& path) {
    return allow(path, reading);
}

Result<void> Landlock::allow_writing(const std::string& path) {
    return allow(path, reading | writing);
}

Result<void> Landlock::allow_connecting(std::uint16_t port) {
    if (!connections_) return {};
    const landlock_net_port_attr rule{.allowed_access = LANDLOCK_ACCESS_NET_CONNECT_TCP,
                                      .port = port};
    return add_rule(ruleset_, LANDLOCK_RULE_NET_PORT, &rule);
}

Result<void> Landlock::enforce() {
    if (::syscall(SYS_landlock_restrict_self, ruleset_.get(), 0) != 0)
        return Error::last("landlock_restrict_self");
    return {};
}

}  // namespace ringfort::process
