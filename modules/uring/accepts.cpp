module;
#include <sys/socket.h>

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {

AcceptStream::AcceptStream(Loop& loop, RawFd listener) noexcept
    : answers_{new Answers{loop,
                           {.opcode = Opcode::accept_many, .fd = listener, .flags = SOCK_CLOEXEC},
                           limits::accept_ahead}} {}

Result<Fd> NextAccept::await_resume() noexcept {
    const auto answer = take();
    if (!answer) return answer.error();
    ensure(answer->has_value(), "a wait ended without an answer");
    return Fd{(*answer)->result};
}

Result<std::optional<Fd>> LastAccept::await_resume() noexcept {
    const auto answer = take();
    if (!answer) return answer.error();
    if (!*answer) return std::optional<Fd>{};
    return std::optional<Fd>{Fd{(*answer)->result}};
}

}  // namespace ringfort::uring
