export module ringfort.config:listener;

import ringfort.base;
import ringfort.std;
import :codec;
import :report;
import :schema;

export namespace ringfort::config {

/// Permission bits of a file, written in octal: "0660" or 0o660.
struct FileMode {
    std::uint32_t bits = 0;
    friend bool operator==(const FileMode&, const FileMode&) noexcept;
};

template <>
struct Codec<FileMode> {
    [[nodiscard]] std::string type() const { return "octal permissions"; }
    [[nodiscard]] std::string range(const Options&) const { return "\"0000\" to \"0777\""; }
    bool read(const Input& input, FileMode& out) const;
    [[nodiscard]] std::optional<std::string> write(const FileMode& value) const;
};

/// What a listener listens for.
enum class Protocol : std::uint8_t {
    tcp,  ///< connections, of TCP or of a unix socket
    udp   ///< datagrams
};

/// [[listener]]: an address, and the service that gets its connections or datagrams.
struct Listener {
    Address address;
    std::string service;
    std::uint32_t backlog = limits::listen_backlog;
    std::optional<FileMode> mode;  ///< only of a unix socket with a path; absent: by the umask
    std::string owner = {};        ///< as `mode`; empty: the master's user
    std::string group = {};        ///< as `mode`; empty: as the system has it
    bool reuseport = false;        ///< a socket for each worker; not of a unix socket
    std::optional<Bytes> receive_buffer = {};  ///< absent: as the system has it
    std::optional<Bytes> send_buffer = {};     ///< as above
    std::uint32_t fast_open = 0;               ///< connections whose data is taken early; 0: none
    Milliseconds defer_accept{0};              ///< how long data is waited for; 0: not
    Milliseconds keepalive{0};                 ///< silence before the first probe; 0: no probes
    Protocol protocol = Protocol::tcp;
    friend bool operator==(const Listener&, const Listener&) noexcept;

    /// Returns the address for people: "127.0.0.1:53", "127.0.0.1:53/udp".
    [[nodiscard]] std::string text() const;
};

/// Returns what is added to an address for people where it is not TCP's: "/udp".
[[nodiscard]] std::string suffix(Protocol protocol);

/// Returns the schema of [[listener]].
[[nodiscard]] Table<Listener> listener_schema();

/// Reports listeners of which two cannot be.
void check_addresses(const std::vector<Listener>& listeners, Faults& faults);

}  // namespace ringfort::config
