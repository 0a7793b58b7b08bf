module;
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.config;

import ringfort.base;

namespace ringfort::config {
namespace {

constexpr std::int64_t max_name = 255;
constexpr std::int64_t max_keepalive_ms = 32'767'000;  // MAX_TCP_KEEPIDLE

void check_listener(const Listener& listener, Faults& faults) {
    const auto does_not_apply = [&](const char* key, bool is_set, const char* help) {
        if (is_set)
            faults.add({{key},
                        fmt::format("`{}` does not apply to {}", key, listener.text()),
                        help,
                        {"address"},
                        "the address"});
    };
    if (listener.address.path().empty()) {
        constexpr auto help = "only a unix socket with a path has permissions";
        does_not_apply("mode", listener.mode.has_value(), help);
        does_not_apply("owner", !listener.owner.empty(), help);
        does_not_apply("group", !listener.group.empty(), help);
    }
    constexpr auto help = "only TCP has it";
    if (listener.protocol == Protocol::udp) {
        does_not_apply("protocol", listener.address.is_unix(),
                       "a unix socket has connections: remove it");
        // Written as it is by default it says nothing: so it is printed.
        does_not_apply("backlog", listener.backlog != limits::listen_backlog,
                       "datagrams wait in the socket's buffer: set receive_buffer");
    }
    if (listener.address.is_unix() || listener.protocol == Protocol::udp) {
        does_not_apply("fast_open", listener.fast_open > 0, help);
        does_not_apply("defer_accept_ms", listener.defer_accept > Milliseconds{0}, help);
        does_not_apply("keepalive_ms", listener.keepalive > Milliseconds{0}, help);
    }
    if (listener.address.is_unix())
        does_not_apply("reuseport", listener.reuseport,
                       "one unix socket is shared by all workers: the kernel has no groups of "
                       "them");
}

}  // namespace

bool operator==(const FileMode&, const FileMode&) noexcept = default;
bool operator==(const Listener&, const Listener&) noexcept = default;

bool Codec<FileMode>::read(const Input& input, FileMode& out) const {
    const std::string written{input.report.text(input.node.span)};
    const bool string = input.node.kind == Node::Kind::string;
    if (!string && input.node.kind != Node::Kind::integer)
        return input.wrong_type("octal permissions", input.write("\"0660\""));
    if (!string && !written.starts_with("0o"))  // 666 would be 0o1232, which nobody means
        return input.fail("must be written in octal", input.write("\"0" + written + "\""));
    std::string_view digits = string ? std::string_view{input.node.string} : written;
    if (digits.starts_with("0o")) digits.remove_prefix(2);
    std::uint32_t bits = 0;
    const char* const last = digits.data() + digits.size();
    const auto [end, failure] = std::from_chars(digits.data(), last, bits, 8);
    if (failure != std::errc{} || end != last || bits > 0777)
        return input.fail("must be octal permissions from \"0000\" to \"0777\"",
                          input.write("\"0660\""));
    out.bits = bits;
    return true;
}

std::optional<std::string> Codec<FileMode>::write(const FileMode& value) const {
    return fmt::format("\"{:04o}\"", value.bits);
}

std::string suffix(Protocol protocol) {
    return protocol == Protocol::udp ? "/udp" : "";
}

std::string Listener::text() const {
    return address.text() + (address.is_unix() ? "" : suffix(protocol));
}

void check_addresses(const std::vector<Listener>& listeners, Faults& faults) {
    for (std::size_t i = 0; i < listeners.size(); ++i) {
        const Address& address = listeners[i].address;
        if (address.family() == 0) continue;                      // could not be read
        if (!address.is_unix() && address.port() == 0) continue;  // each gets a port of its own
        for (std::size_t j = 0; j < i; ++j) {
            if (!(listeners[j].address == address)) continue;
            if (listeners[j].protocol != listeners[i].protocol) continue;
            faults.add({{"listener", i, "address"},
                        fmt::format("two listeners have the address {}", listeners[i].text()),
                        "one listener is shared by all workers: remove one of the two",
                        {"listener", j, "address"},
                        "the first one is here"});
            break;
        }
    }
}

Table<Listener> listener_schema() {
    const auto size = [](Bytes bytes) { return static_cast<std::int64_t>(bytes.count); };
    return table<Listener>("An address, and the service that gets its connections or datagrams.")
        .field("address", &Listener::address,
               "\"127.0.0.1:7000\", \"[::1]:7000\", \"*:7000\", \"unix:/path\" or \"unix:@name\"; "
               "port 0: the kernel picks",
               {.required = true})
        .field(
            "protocol", &Listener::protocol,
            "tcp: connections, also those of a unix socket; udp: datagrams. One address may have "
            "a listener of each",
            Names<Protocol>{{"tcp", Protocol::tcp}, {"udp", Protocol::udp}})
        .field("service", &Listener::service, "the name of a service of the application",
               {.required = true, .min = 1, .max = max_name})
        .field("backlog", &Listener::backlog,
               "connections waiting to be accepted; the kernel caps it at net.core.somaxconn",
               {.min = 1, .max = limits::max_listen_backlog})
        .field("mode", &Listener::mode,
               "permissions of a unix socket's file; not set: what the umask leaves")
        .field("owner", &Listener::owner,
               "the user, by name or number, of a unix socket's file; \"\": the master's",
               {.max = max_name})
        .field("group", &Listener::group,
               "the group, by name or number, of a unix socket's file; \"\": as the system has it",
               {.max = max_name})
        .field(
            "reuseport", &Listener::reuseport,
            "a socket for each worker, among which the kernel shares out connections or senders, "
            "instead of one for all")
        .field("receive_buffer", &Listener::receive_buffer,
               "SO_RCVBUF of the connections, or of the datagrams that wait; not set: as the "
               "system has "
               "it",
               {.min = size(limits::min_socket_buffer), .max = size(limits::max_socket_buffer)})
        .field("send_buffer", &Listener::send_buffer, "SO_SNDBUF; not set: as the system has it",
               {.min = size(limits::min_socket_buffer), .max = size(limits::max_socket_buffer)})
        .field("fast_open", &Listener::fast_open,
               "TCP_FASTOPEN: so many connections at a time may bring data with their first "
               "packet; 0: none",
               {.min = 0, .max = limits::max_listen_backlog})
        .field("defer_accept_ms", &Listener::defer_accept,
               "TCP_DEFER_ACCEPT: a connection is accepted when data has come, or after so long, "
               "in whole seconds; 0: at once")
        .field("keepalive_ms", &Listener::keepalive,
               "SO_KEEPALIVE: a silent peer is probed after so long, in whole seconds; 0: never",
               {.max = max_keepalive_ms})
        .check(check_listener);
}

}  // namespace ringfort::config
