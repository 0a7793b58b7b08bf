module;
#include <liburing.h>
#include <ringfort/try.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

/// What each buffer begins with: the kernel's header, then room for a name and for control
/// messages (a segment size, an in6_pktinfo, a time stamp).
constexpr std::size_t name_room = sizeof(sockaddr_storage);
constexpr std::size_t control_room = 128;
constexpr std::size_t head_size = sizeof(io_uring_recvmsg_out) + name_room + control_room;

constinit const msghdr layout{.msg_name = nullptr,
                              .msg_namelen = name_room,
                              .msg_iov = nullptr,
                              .msg_iovlen = 0,
                              .msg_control = nullptr,
                              .msg_controllen = control_room,
                              .msg_flags = 0};

Result<Message> message_of(Answer answer) {
    Message message{.bytes = std::move(answer.lease)};
    const auto whole = message.bytes.bytes();
    if (whole.size() < head_size) return Error{"receive a message", EPROTO};
    const auto& head = *reinterpret_cast<const io_uring_recvmsg_out*>(whole.data());
    message.name = whole.subspan(sizeof head, std::min<std::size_t>(head.namelen, name_room));
    message.control = whole.subspan(sizeof head + name_room,
                                    std::min<std::size_t>(head.controllen, control_room));
    message.flags = head.flags;
    message.bytes.remove_prefix(head_size);
    return message;
}

}  // namespace

Result<BufferPool*> Loop::open_message_buffers() {
    if (message_buffers_.active() == 0)
        RF_TRY(message_buffers_.open(driver_, *this, message_buffer_options_));
    return &message_buffers_;
}

Result<MessageStream> MessageStream::open(Loop& loop, RawFd socket) {
    RF_LET(BufferPool * pool, loop.open_message_buffers());
    return MessageStream{new Answers{loop,
                                     {.opcode = Opcode::receive_messages,
                                      .fd = socket,
                                      .address = &layout,
                                      .offset = BufferPool::message_group},
                                     limits::messages_ahead,
                                     pool}};
}

Result<Message> NextMessage::await_resume() noexcept {
    auto answer = take();
    if (!answer) return answer.error();
    ensure(answer->has_value(), "a wait ended without an answer");
    return message_of(**std::move(answer));
}

Result<std::optional<Message>> LastMessage::await_resume() noexcept {
    auto answer = take();
    if (!answer) return answer.error();
    if (!*answer) return std::optional<Message>{};
    RF_LET(auto message, message_of(**std::move(answer)));
    return std::optional<Message>{std::move(message)};
}

}  // namespace ringfort::uring
