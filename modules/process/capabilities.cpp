module;
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
module ringfort.process;

namespace ringfort::process {

Result<void> drop_bounding_set() {
    // The kernel says where its capabilities end: the first it does not know is EINVAL.
    for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
        if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
        if (errno == EPERM) return {};  // no CAP_SETPCAP
        return Error::last("prctl(PR_CAPBSET_DROP)");
    }
    return {};
}

Result<void> drop_capabilities() {
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return Error::last("prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
    if (::syscall(SYS_capset, &header, none.data()) != 0) return Error::last("capset");
    return {};
}

Result<void> forbid_new_privileges() {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return Error::last("prctl(PR_SET_NO_NEW_PRIVS)");
    return {};
}

}  // namespace ringfort::process
