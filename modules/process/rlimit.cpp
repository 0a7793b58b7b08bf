module;
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
module ringfort.process;

namespace ringfort::process {

namespace {

/// Sets the soft limit, and the hard one with it where it is too low and that is allowed.
Result<std::uint64_t> set_limit(__rlimit_resource_t resource, std::uint64_t wanted, rlimit limit) {
    if (wanted > limit.rlim_max) {
        const rlimit higher{wanted, wanted};
        if (::setrlimit(resource, &higher) == 0) return wanted;
        if (errno != EPERM) return Error::last("setrlimit");
        wanted = limit.rlim_max;
    }
    limit.rlim_cur = wanted;
    if (::setrlimit(resource, &limit) != 0) return Error::last("setrlimit");
    return wanted;
}

}  // namespace

Result<std::uint64_t> set_open_files(std::uint64_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return Error::last("getrlimit");
    return set_limit(RLIMIT_NOFILE, wanted == 0 ? limit.rlim_max : wanted, limit);
}

Result<std::uint64_t> set_core_size(std::uint64_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0) return Error::last("getrlimit");
    return set_limit(RLIMIT_CORE, wanted, limit);
}

Result<void> make_dumpable() {
    if (::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0) return Error::last("prctl(PR_SET_DUMPABLE)");
    return {};
}

}  // namespace ringfort::process
