/// The async face of sockets: streams that receive into leased buffers and send whole spans, an
/// acceptor that survives a full descriptor table, connecting, and relaying between two streams.
///
/// Invariants: sockets are in blocking mode (a ring waits in the kernel; O_NONBLOCK would make it
/// return EAGAIN); a stream holds no memory while it waits for bytes; what is received is either
/// consumed or its lease is given back.
/// Diagnostics: errors are those of the socket calls, ECANCELED, and ETIMEDOUT for a time limit.
export module ringfort.net;

export import :acceptor;
export import :connect;
export import :datagram;
export import :relay;
export import :relay_pipe;
export import :stream;

import :relay_direction;
import :relay_guard;
