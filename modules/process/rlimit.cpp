module;
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
module ringfort.process;

namespace ringfort::process {

Result<std::uint64_t> set_open_files(std::uint64_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return Error::last("getrlimit");
    if (wanted == 0) wanted = limit.rlim_max;
    if (wanted > limit.rlim_max) {
        const rlimit higher{wanted, wanted};
        if (::setrlimit(RLIMIT_NOFILE, &higher) == 0) return wanted;
        if (errno != EPERM) return Error::last("setrlimit");
        wanted = limit.rlim_max;
    }
    limit.rlim_cur = wanted;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return Error::last("setrlimit");
    return wanted;
}

}  // namespace ringfort::process
