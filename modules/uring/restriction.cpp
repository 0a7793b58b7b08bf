module;
#include <liburing.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <vector>
module ringfort.uring;

import ringfort.base;

namespace ringfort::uring {
namespace {

/// What `prepare` and the driver ask for, of open descriptors.
constexpr std::array issued{
    IORING_OP_ACCEPT,     IORING_OP_ASYNC_CANCEL, IORING_OP_CLOSE,          IORING_OP_FSYNC,
    IORING_OP_FUTEX_WAIT, IORING_OP_FUTEX_WAKE,   IORING_OP_POLL_ADD,       IORING_OP_READ,
    IORING_OP_RECV,       IORING_OP_RECVMSG,      IORING_OP_SEND,           IORING_OP_SENDMSG,
    IORING_OP_SEND_ZC,    IORING_OP_TIMEOUT,      IORING_OP_TIMEOUT_REMOVE, IORING_OP_WRITE};
constexpr std::array issued_for_files{IORING_OP_OPENAT, IORING_OP_STATX};

/// What is registered after the start: further buffers. The ring's descriptor is let go of at the
/// end.
constexpr std::array registered{IORING_REGISTER_PBUF_RING, IORING_UNREGISTER_PBUF_RING,
                                IORING_UNREGISTER_RING_FDS};

class Restrictions {
public:
    /// A kernel refuses all of a list that has an operation it does not know.
    void allow_operation(const io_uring_probe& known, int opcode) {
        if (::io_uring_opcode_supported(&known, opcode) == 0) return;
        add(IORING_RESTRICTION_SQE_OP).sqe_op = static_cast<__u8>(opcode);
    }
    void allow_registering(unsigned opcode) {
        add(IORING_RESTRICTION_REGISTER_OP).register_op = static_cast<__u8>(opcode);
    }
    void allow_flags(unsigned flags) {
        add(IORING_RESTRICTION_SQE_FLAGS_ALLOWED).sqe_flags = static_cast<__u8>(flags);
    }
    [[nodiscard]] int apply(io_uring& ring) {
        return ::io_uring_register_restrictions(&ring, list_.data(),
                                                static_cast<unsigned>(list_.size()));
    }

private:
    io_uring_restriction& add(int kind) {
        list_.push_back({});
        list_.back().opcode = static_cast<__u16>(kind);
        return list_.back();
    }

    std::vector<io_uring_restriction> list_;
};

}  // namespace

Result<void> restrict_and_enable(io_uring& ring, const Permits& permits) {
    const std::unique_ptr<io_uring_probe, void (*)(io_uring_probe*)> known{
        ::io_uring_get_probe_ring(&ring), ::io_uring_free_probe};
    if (!known) return Error{"io_uring_register(PROBE)", EINVAL};
    Restrictions restrictions;
    for (const int opcode : issued) restrictions.allow_operation(*known, opcode);
    if (permits.files)
        for (const int opcode : issued_for_files) restrictions.allow_operation(*known, opcode);
    if (permits.connections) restrictions.allow_operation(*known, IORING_OP_CONNECT);
    for (const unsigned opcode : registered) restrictions.allow_registering(opcode);
    restrictions.allow_flags(IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS);
    if (const int outcome = restrictions.apply(ring); outcome < 0)
        return Error{"io_uring_register(RESTRICTIONS)", -outcome};
    if (const int outcome = ::io_uring_enable_rings(&ring); outcome < 0)
        return Error{"io_uring_register(ENABLE_RINGS)", -outcome};
    return {};
}

}  // namespace ringfort::uring
