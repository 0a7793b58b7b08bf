module;
#include <utility>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {

void Socket::close() noexcept {
    sender_.drop();
    if (receiver_ != nullptr)
        std::exchange(receiver_, nullptr)->close(std::move(fd_));
    else if (fd_)
        loop_->close(std::move(fd_));
}

}  // namespace ringfort::uring
