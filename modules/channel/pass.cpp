module;
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module ringfort.channel;

namespace ringfort::channel {
namespace {

/// What sendmsg(2) and recvmsg(2) want of some bytes and one descriptor. Points into itself.
struct Envelope {
    Envelope(char* bytes, std::size_t size) noexcept : part{bytes, size} {
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }
    Envelope(Envelope&&) = delete;

    iovec part;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(RawFd))> control{};
    msghdr header{};
};

}  // namespace

Result<void> pass(const Fd& stream, std::string_view text, const Fd& fd) {
    Envelope envelope{const_cast<char*>(text.data()), text.size()};  // only read
    msghdr& header = envelope.header;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(RawFd));
    const RawFd raw = fd.get();
    std::memcpy(CMSG_DATA(rights), &raw, sizeof raw);
    const ssize_t sent = ::sendmsg(stream.get(), &header, MSG_NOSIGNAL);
    if (sent < 0) return Error::last("sendmsg");
    if (static_cast<std::size_t>(sent) != text.size())
        return Error{"sendmsg", std::errc::message_size};
    return {};
}

Result<Passed> receive_passed(const Fd& stream) {
    std::array<char, limits::max_control_line_bytes> bytes{};
    Envelope envelope{bytes.data(), bytes.size()};
    msghdr& header = envelope.header;
    const ssize_t size = ::recvmsg(stream.get(), &header, MSG_CMSG_CLOEXEC);
    if (size < 0) return Error::last("recvmsg");
    Passed passed{.text = {bytes.data(), static_cast<std::size_t>(size)}, .fd = {}};
    const cmsghdr* rights = CMSG_FIRSTHDR(&header);
    if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        RawFd raw = -1;
        std::memcpy(&raw, CMSG_DATA(rights), sizeof raw);
        passed.fd = Fd{raw};
    }
    if ((header.msg_flags & MSG_CTRUNC) != 0)
        return Error{"receive a descriptor", std::errc::too_many_files_open};
    return passed;
}

}  // namespace ringfort::channel
