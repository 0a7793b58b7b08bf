#pragma once
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace e2e {

/// Tells whether this process may make no ring.
inline bool io_uring_is_refused() {
    return ::syscall(SYS_io_uring_setup, 0, nullptr) < 0 && errno != EFAULT;
}

}  // namespace e2e
