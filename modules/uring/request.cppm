export module ringfort.uring:request;

import ringfort.base;
import ringfort.std;

export namespace ringfort::uring {

/// What an operation does; see the functions of the same names in Loop.
enum class Opcode : std::uint8_t {
    accept,
    accept_waiting,
    connect,
    receive,
    send,       ///< all of it
    send_some,  ///< what the socket takes
    send_message,
    poll,
    poll_many,
    read,
    write,
    read_all,
    write_all,
    open,
    status,
    sync,
    close,
    accept_many,
    receive_many,  ///< bytes, into buffers of a group
    receive_messages,
    send_pieces,
    send_zero_copy,
    futex_wait,
    futex_wake
};

/// Names an operation for its Error.
[[nodiscard]] Step step_of(Opcode opcode) noexcept;

/// What an operation asks of the kernel, in the loop's own terms.
struct Request {
    static constexpr std::uint64_t at_position = ~std::uint64_t{0};  ///< of the file itself

    Opcode opcode;
    RawFd fd;                            ///< borrowed until the operation has completed
    const void* address = nullptr;       ///< the bytes, socket address, msghdr or path
    std::size_t length = 0;              ///< bytes at `address`; open's mode, statx's mask; the
                                         ///< most that receive_many takes, 0: no bound
    std::uint64_t offset = at_position;  ///< in a file; a pointer, group or word
    std::uint32_t flags = 0;             ///< poll events, flags of the system call's own; of
                                         ///< receive_many: IORING_RECVSEND_POLL_FIRST
    bool quiet = false;                  ///< answered only if it fails or is cut short
};

}  // namespace ringfort::uring
