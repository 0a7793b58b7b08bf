module;
#include <fcntl.h>
#include <unistd.h>

#include <utility>
module ringfort.base;

namespace ringfort {

void Fd::close() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<Fd> Fd::duplicate() const {
    return ringfort::duplicate(fd_);
}

Result<Fd> duplicate(RawFd fd) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return Error::last("fcntl(F_DUPFD_CLOEXEC)");
    return Fd{copy};
}

}  // namespace ringfort
