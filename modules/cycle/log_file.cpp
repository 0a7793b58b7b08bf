module;
#include <fcntl.h>

#include <string>
module ringfort.cycle;

import ringfort.base;

namespace ringfort::cycle {

Result<Fd> open_log(const std::string& target) {
    if (target == standard_error) return Fd{};
    // O_NONBLOCK is for a FIFO that nobody reads: it fails instead of stopping the master here.
    Fd file{::open(target.c_str(),
                   O_NONBLOCK | O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640)};
    if (!file) return Error::last("open the log");
    return file;
}

}  // namespace ringfort::cycle
