module;
#include <utility>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {

void Socket::close() noexcept {
    ensure(sends_ == 0, "a stream was destroyed while a task sends to it");
    sender_.drop();
    if (receiver_ != nullptr)
        std::exchange(receiver_, nullptr)->close(std::move(fd_));
    else if (fd_)
        loop_->close(std::move(fd_));
}

}  // namespace ringfort::uring
