module;
#include <asm/ioctls.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <ringfort/try.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <utility>
module ringfort.process;

import ringfort.base;

namespace ringfort::process {
namespace {

/// What is done to descriptors that are open.
constexpr const char* descriptors[] = {"read",
                                       "write",
                                       "readv",
                                       "writev",
                                       "pread64",
                                       "pwrite64",
                                       "preadv",
                                       "pwritev",
                                       "preadv2",
                                       "pwritev2",
                                       "lseek",
                                       "close",
                                       "close_range",
                                       "dup",
                                       "dup2",
                                       "dup3",
                                       "fcntl",
                                       "fstat",
                                       "fsync",
                                       "fdatasync",
                                       "ftruncate",
                                       "fadvise64",
                                       "sendfile",
                                       "splice",
                                       "tee",
                                       "pipe",
                                       "pipe2",
                                       "poll",
                                       "ppoll",
                                       "select",
                                       "pselect6",
                                       "epoll_create",
                                       "epoll_create1",
                                       "epoll_ctl",
                                       "epoll_wait",
                                       "epoll_pwait",
                                       "epoll_pwait2",
                                       "eventfd2",
                                       "timerfd_create",
                                       "timerfd_settime",
                                       "timerfd_gettime",
                                       "accept",
                                       "accept4",
                                       "recvfrom",
                                       "recvmsg",
                                       "recvmmsg",
                                       "sendto",
                                       "sendmsg",
                                       "sendmmsg",
                                       "shutdown",
                                       "socketpair",
                                       "getsockname",
                                       "getpeername",
                                       "getsockopt",
                                       "setsockopt"};

/// Memory, time, signals to itself, threads, and what a process may know of itself.
constexpr const char* itself[] = {"brk",
                                  "munmap",
                                  "mremap",
                                  "madvise",
                                  "mlock",
                                  "munlock",
                                  "membarrier",
                                  "futex",
                                  "futex_waitv",
                                  "set_robust_list",
                                  "get_robust_list",
                                  "rseq",
                                  "sched_yield",
                                  "sched_getaffinity",
                                  "exit",
                                  "exit_group",
                                  "rt_sigaction",
                                  "rt_sigprocmask",
                                  "rt_sigpending",
                                  "rt_sigreturn",
                                  "rt_sigtimedwait",
                                  "rt_sigsuspend",
                                  "sigaltstack",
                                  "restart_syscall",
                                  "pause",
                                  "clock_gettime",
                                  "clock_getres",
                                  "clock_nanosleep",
                                  "nanosleep",
                                  "gettimeofday",
                                  "time",
                                  "times",
                                  "getrusage",
                                  "getrandom",
                                  "getpid",
                                  "getppid",
                                  "gettid",
                                  "getuid",
                                  "geteuid",
                                  "getgid",
                                  "getegid",
                                  "getresuid",
                                  "getresgid",
                                  "getgroups",
                                  "getcpu",
                                  "uname",
                                  "sysinfo",
                                  "getrlimit"};

/// What only files have. Which ones it may be is Landlock's to say.
constexpr const char* reading[] = {"open",       "openat",   "stat",       "lstat",
                                   "newfstatat", "statx",    "access",     "faccessat",
                                   "faccessat2", "readlink", "readlinkat", "getdents64",
                                   "getcwd",     "fstatfs",  "flock",      "readahead"};
constexpr const char* writing[] = {
    "mkdir",    "mkdirat",   "rmdir",           "unlink",         "unlinkat", "rename",
    "renameat", "renameat2", "symlink",         "symlinkat",      "link",     "linkat",
    "fchmod",   "fallocate", "copy_file_range", "sync_file_range"};

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGFORT_SANITIZED
/// What the search for leaks does at the end: a thread of its own stops the others and looks at
/// their memory.
constexpr const char* sanitizer[] = {"clone",    "ptrace",     "wait4",      "open",  "openat",
                                     "readlink", "readlinkat", "getdents64", "prctl", "prlimit64",
                                     "stat",     "newfstatat", "access"};
#endif
#endif

using Values = std::initializer_list<std::uint64_t>;

constexpr scmp_arg_cmp equal(unsigned argument, std::uint64_t value) {
    return {argument, SCMP_CMP_EQ, value, 0};
}

/// Compares only the bits of `mask`.
constexpr scmp_arg_cmp masked(unsigned argument, std::uint64_t mask, std::uint64_t value) {
    return {argument, SCMP_CMP_MASKED_EQ, mask, value};
}

class Filter {
public:
    static Result<Filter> create(Refusal refusal) {
        const std::uint32_t refused =
            refusal == Refusal::kill ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM);
        Filter filter;
        filter.context_.reset(::seccomp_init(refused));
        if (!filter.context_) return Error{"seccomp_init", ENOMEM};
        RF_TRY(filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
        // A tree of comparisons instead of a list of them.
        RF_TRY(filter.set(SCMP_FLTATR_CTL_OPTIMIZE, 2));
        // Otherwise a kernel before 5.16 slows every load down, against what only a process that
        // runs foreign code has to fear: see prctl(2), PR_SPEC_STORE_BYPASS.
        RF_TRY(filter.set(SCMP_FLTATR_CTL_SSB, 1));
        return filter;
    }

    /// Allows a call whose arguments meet all conditions. One that the library does not know, or
    /// that the architecture does not have, stays refused.
    Result<void> allow(const char* call, std::initializer_list<scmp_arg_cmp> conditions = {}) {
        return add(SCMP_ACT_ALLOW, call, conditions);
    }
    Result<void> allow_all(std::span<const char* const> calls) {
        for (const char* const call : calls) RF_TRY(allow(call));
        return {};
    }
    /// Makes a call look as if the kernel did not have it.
    Result<void> hide(const char* call) { return add(SCMP_ACT_ERRNO(ENOSYS), call, {}); }

    Result<void> load() {
        if (const int outcome = ::seccomp_load(context_.get()); outcome != 0)
            return Error{"seccomp_load", -outcome};
        return {};
    }

private:
    struct Release {
        void operator()(void* context) const noexcept { ::seccomp_release(context); }
    };

    Result<void> set(scmp_filter_attr attribute, std::uint32_t value) {
        if (const int outcome = ::seccomp_attr_set(context_.get(), attribute, value); outcome != 0)
            return Error{"seccomp_attr_set", -outcome};
        return {};
    }
    Result<void> add(std::uint32_t action, const char* call,
                     std::initializer_list<scmp_arg_cmp> conditions) {
        const int number = ::seccomp_syscall_resolve_name(call);
        if (number < 0) return {};
        const int outcome =
            ::seccomp_rule_add_array(context_.get(), action, number,
                                     static_cast<unsigned>(conditions.size()), conditions.begin());
        if (outcome != 0) return Error{"seccomp_rule_add", -outcome};
        return {};
    }

    std::unique_ptr<void, Release> context_;
};

/// Allows what is harmless with some arguments only.
Result<void> allow_in_part(Filter& filter) {
    for (const char* const call : {"mmap", "mprotect"})
        RF_TRY(filter.allow(call, {masked(2, PROT_EXEC, 0)}));
    // The C library asks for a descriptor's status by an empty path.
    RF_TRY(filter.allow("newfstatat", {masked(3, AT_EMPTY_PATH, AT_EMPTY_PATH)}));
    for (const std::uint64_t request : Values{FIONREAD, FIONBIO, TIOCOUTQ, TCGETS})
        RF_TRY(filter.allow("ioctl", {equal(1, request)}));
    for (const std::uint64_t option : Values{PR_SET_NAME, PR_GET_NAME, PR_SET_VMA})
        RF_TRY(filter.allow("prctl", {equal(0, option)}));
    RF_TRY(filter.allow("prlimit64", {equal(0, 0)}));
    // A thread, not a process. clone3 has its flags where a filter cannot see them; without it the
    // C library falls back to clone.
    RF_TRY(filter.allow("clone", {masked(0, CLONE_THREAD, CLONE_THREAD)}));
    RF_TRY(filter.hide("clone3"));
    const auto self = static_cast<std::uint64_t>(::getpid());
    for (const char* const call : {"kill", "tgkill"}) RF_TRY(filter.allow(call, {equal(0, self)}));
    return {};
}

Result<void> allow_ring(Filter& filter) {
    constexpr std::uint64_t without_flag = IORING_REGISTER_USE_REGISTERED_RING - 1;
    RF_TRY(filter.allow("io_uring_enter"));
    for (const std::uint64_t what :
         Values{IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING, IORING_UNREGISTER_RING_FDS})
        RF_TRY(filter.allow("io_uring_register", {masked(1, without_flag, what)}));
    return {};
}

Result<void> allow_socket(Filter& filter, int family, int type, int protocol) {
    constexpr std::uint64_t without_flags = ~std::uint64_t{SOCK_CLOEXEC | SOCK_NONBLOCK};
    for (const int one : {0, protocol}) {
        RF_TRY(filter.allow("socket", {equal(0, static_cast<std::uint64_t>(family)),
                                       masked(1, without_flags, static_cast<std::uint64_t>(type)),
                                       equal(2, static_cast<std::uint64_t>(one))}));
        if (protocol == 0) break;
    }
    return {};
}

Result<void> allow_sockets(Filter& filter, const CallFilter& wanted) {
    for (const int family : {AF_INET, AF_INET6}) {
        if (wanted.streams) RF_TRY(allow_socket(filter, family, SOCK_STREAM, IPPROTO_TCP));
        if (wanted.datagrams) RF_TRY(allow_socket(filter, family, SOCK_DGRAM, IPPROTO_UDP));
    }
    if (wanted.unix_sockets) RF_TRY(allow_socket(filter, AF_UNIX, SOCK_STREAM, 0));
    if (wanted.unix_sockets && wanted.datagrams)
        RF_TRY(allow_socket(filter, AF_UNIX, SOCK_DGRAM, 0));
    if (wanted.streams || wanted.unix_sockets || wanted.datagrams) RF_TRY(filter.allow("connect"));
    if (wanted.datagrams) RF_TRY(filter.allow("bind"));
    return {};
}

}  // namespace

bool has_call_filters() noexcept {
    const std::uint32_t action = SECCOMP_RET_ERRNO;
    return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

Result<void> filter_calls(const CallFilter& wanted) {
    RF_LET(Filter filter, Filter::create(wanted.refusal));
    RF_TRY(filter.allow_all(descriptors));
    RF_TRY(filter.allow_all(itself));
    RF_TRY(allow_in_part(filter));
    if (wanted.ring) RF_TRY(allow_ring(filter));
    RF_TRY(allow_sockets(filter, wanted));
    if (wanted.reading || wanted.writing) RF_TRY(filter.allow_all(reading));
    if (wanted.writing) RF_TRY(filter.allow_all(writing));
#ifdef RINGFORT_SANITIZED
    RF_TRY(filter.allow_all(sanitizer));
#endif
    return filter.load();
}

}  // namespace ringfort::process
