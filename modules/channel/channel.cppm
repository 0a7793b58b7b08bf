/// Typed messages with descriptors between two processes, over a SOCK_SEQPACKET socketpair.
///
/// Invariants: one message is one packet. Nothing the peer sends is trusted: length, version, type,
/// bounds, ranges, trailing bytes and the number of descriptors are validated, and whatever is not
/// handed to the caller is closed. A message handed to `send` is sent, queued in order, or reported
/// as an error; never lost silently. No call blocks. Knows nothing of who sends, nor of any loop:
/// the caller polls `fd()`, and decides which types it accepts from which peer.
/// Diagnostics: every operating failure is a `Result`; misuse (more than `limits::max_message_fds`
/// descriptors in an `Fds`, `release` with messages queued) aborts.
/// Source: unix(7), sendmsg(2), recvmsg(2), cmsg(3); nginx src/os/unix/ngx_channel.c.
export module ringfort.channel;

export import :archive;
export import :endpoint;
export import :fds;
export import :message;
export import :pass;
export import :wire;
