module;
#include <fcntl.h>

#include <string>
module ringfort.cycle;

import ringfort.base;

namespace ringfort::cycle {

Result<Fd> open_log(const std::string& target) {
    if (target == standard_error) return Fd{};
    Fd file{::open(target.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640)};
    if (!file) return Error::last("open the log");
    return file;
}

}  // namespace ringfort::cycle
