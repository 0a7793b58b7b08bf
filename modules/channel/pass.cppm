export module ringfort.channel:pass;

import ringfort.base;
import ringfort.std;

export namespace ringfort::channel {

/// What came over a stream, and the descriptor beside it, if there was one.
struct Passed {
    std::string text;
    Fd fd;
};

/// Sends `text`, at least a byte, and a descriptor with it, over a unix stream. For a first contact
/// between strangers, who then have a channel. Errors: those of sendmsg(2); EMSGSIZE when not all
/// of the text was taken.
[[nodiscard]] Result<void> pass(const Fd& stream, std::string_view text, const Fd& fd);

/// Receives up to `limits::max_control_line_bytes` and a descriptor, if one comes with them. Waits
/// as the socket does. Errors: those of recvmsg(2); EMFILE when the descriptor was lost.
[[nodiscard]] Result<Passed> receive_passed(const Fd& stream);

}  // namespace ringfort::channel
