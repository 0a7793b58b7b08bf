module;
#include <sys/socket.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <optional>
#include <span>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {

GatheredSend::GatheredSend(Loop& loop, RawFd socket, Pieces pieces,
                           std::optional<Milliseconds> limit) noexcept
    : VoidOperation{loop,
                    {.opcode = Opcode::send_pieces,
                     .fd = socket,
                     .address = &message_,
                     .flags = MSG_NOSIGNAL | MSG_WAITALL},
                    limit},
      rest_{pieces} {
    fill_window();
}

void GatheredSend::fill_window() noexcept {
    std::size_t count = 0;
    for (; !rest_.empty() && count < window_.size(); rest_ = rest_.subspan(1)) {
        const auto piece = rest_.front();
        if (!piece.empty())
            window_[count++] = {.iov_base = const_cast<std::byte*>(piece.data()),
                                .iov_len = piece.size()};
    }
    message_.msg_iov = window_.data();
    message_.msg_iovlen = count;
}

bool GatheredSend::advance_pieces(std::size_t moved) noexcept {
    while (message_.msg_iovlen > 0) {
        iovec& piece = *message_.msg_iov;
        if (moved < piece.iov_len) {
            piece.iov_base = static_cast<std::byte*>(piece.iov_base) + moved;
            piece.iov_len -= moved;
            return false;
        }
        moved -= piece.iov_len;
        ++message_.msg_iov;
        --message_.msg_iovlen;
    }
    fill_window();
    return message_.msg_iovlen == 0;
}

}  // namespace ringfort::uring
