module;
#include <sys/socket.h>

#include <cstddef>
#include <optional>
#include <span>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {

ZeroCopySend::ZeroCopySend(Loop& loop, RawFd socket, std::span<const std::byte> bytes,
                           std::optional<Milliseconds> limit) noexcept
    : VoidOperation{loop,
                    {.opcode = loop.features().zero_copy ? Opcode::send_zero_copy : Opcode::send,
                     .fd = socket,
                     .address = bytes.data(),
                     .length = bytes.size(),
                     .flags = MSG_NOSIGNAL | MSG_WAITALL},
                    limit} {}

}  // namespace ringfort::uring
