export module ringfort.channel:message;

import ringfort.base;
import ringfort.std;

export namespace ringfort::channel {

/// Describes a type of message: its name for logs and how many descriptors it carries.
struct Kind {
    std::string_view name;
    std::size_t min_fds = 0;
    std::size_t max_fds = 0;
};

// Master to worker.

/// Gives a worker a listener to accept from: at start before `Start`, or at any time later.
/// Carries 1 fd: the listening socket, or a bound one of UDP, which the master keeps a copy of.
struct AddListener {
    static constexpr Kind kind{"add_listener", 1, 1};
    std::uint32_t id = 0;  ///< names the listener in later messages of this generation
    std::string service;   ///< 1 to `limits::max_service_name_bytes` bytes, no NUL
    Address address;       ///< what the socket is bound to: IPv4, IPv6 or a named unix address
    friend bool operator==(const AddListener&, const AddListener&) = default;
};

/// Takes a listener back that the worker was given after its start or with it: it serves what it
/// has accepted, and accepts no more. No fds.
struct RemoveListener {
    static constexpr Kind kind{"remove_listener"};
    std::uint32_t id = 0;  ///< as in `AddListener`
    friend bool operator==(const RemoveListener&, const RemoveListener&) = default;
};

/// Gives a worker a shared-memory zone, before `Start`, or offers one to a master. Carries 1 fd:
/// the zone's sealed memfd.
struct AddZone {
    static constexpr Kind kind{"add_zone", 1, 1};
    std::string name;  ///< 1 to `limits::max_zone_name_bytes` bytes, no NUL
    std::string tag;   ///< 0 to `limits::max_zone_tag_bytes` bytes, no NUL
    Bytes size;        ///< `limits::min_zone_size` to `limits::max_zone_size`
    friend bool operator==(const AddZone&, const AddZone&) = default;
};

/// Says that everything is set up: begin to serve, then answer `Ready` or `Failed`. No fds.
struct Start {
    static constexpr Kind kind{"start"};
    std::uint32_t slot = 0;  ///< below `limits::max_workers`, as every slot
    std::uint32_t generation = 0;
    std::uint32_t row = 0;          ///< of the zone of counters, below `limits::max_counter_rows`
    Milliseconds drain_timeout{0};  ///< used when the worker drains because the master has gone
    friend bool operator==(const Start&, const Start&) = default;
};

/// Ends a worker gracefully: stop accepting, finish the connections within `timeout`, exit 0.
/// Sent at a reload, an upgrade or a shutdown; answered by `Draining`. No fds.
struct Drain {
    static constexpr Kind kind{"drain"};
    Milliseconds timeout{0};  ///< 0 to 2^32 - 1 ms, as every duration in a message
    friend bool operator==(const Drain&, const Drain&) = default;
};

/// Ends a worker at once, its connections cut: the fast shutdown. No fds.
struct Terminate {
    static constexpr Kind kind{"terminate"};
    friend bool operator==(const Terminate&, const Terminate&) = default;
};

/// Replaces the worker's log. Carries 0 or 1 fd: the new log file; none means standard error.
struct ReopenLogs {
    static constexpr Kind kind{"reopen_logs", 0, 1};
    friend bool operator==(const ReopenLogs&, const ReopenLogs&) = default;
};

/// Opens a channel to another worker. Carries 1 fd: this worker's end; the other end went to the
/// worker in `slot` the same way. Both send `Hello` first.
struct OpenPeer {
    static constexpr Kind kind{"open_peer", 1, 1};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const OpenPeer&, const OpenPeer&) = default;
};

/// Closes the channel to another worker, which has gone or will. No fds.
struct ClosePeer {
    static constexpr Kind kind{"close_peer"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const ClosePeer&, const ClosePeer&) = default;
};

/// Sets the level of the worker's log until it is set again. No fds.
struct SetLogLevel {
    static constexpr Kind kind{"set_log_level"};
    log::Level level = log::Level::info;
    friend bool operator==(const SetLogLevel&, const SetLogLevel&) = default;
};

// Worker to master.

/// Answers `Start`: the worker serves. No fds.
struct Ready {
    static constexpr Kind kind{"ready"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const Ready&, const Ready&) = default;
};

/// Says why a worker could not start; it exits after sending this. No fds.
struct Failed {
    static constexpr Kind kind{"failed"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    int error_number = 0;  ///< an errno value, 0 to 4095
    std::string text;  ///< for people; cut at `limits::max_report_text_bytes` when encoded. What
                       ///< is received may hold any bytes: escape it, as the log does
    friend bool operator==(const Failed&, const Failed&) = default;
};

/// The worker accepts no more, because of `Drain`, `Terminate`, a signal or the end of its master.
/// No fds.
struct Draining {
    static constexpr Kind kind{"draining"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    std::uint32_t connections = 0;  ///< still open
    friend bool operator==(const Draining&, const Draining&) = default;
};

/// Names something that the worker does without on this machine, and what follows from it: between
/// `Start` and `Ready`. No fds.
struct Shortcoming {
    static constexpr Kind kind{"shortcoming"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    std::string text;  ///< as that of `Failed`
    friend bool operator==(const Shortcoming&, const Shortcoming&) = default;
};

// Worker to worker.

/// Carries what a service tells the service of the same name in another worker. Carries 0 or 1 fd,
/// which is the receiver's from then on.
struct ServiceMessage {
    static constexpr Kind kind{"service_message", 0, 1};
    std::string service;     ///< 1 to `limits::max_service_name_bytes` bytes, no NUL
    std::uint32_t type = 0;  ///< the application's own
    std::string bytes;       ///< up to `limits::max_peer_message_bytes`, any
    friend bool operator==(const ServiceMessage&, const ServiceMessage&) = default;
};

/// Says who is at this end of a channel between workers: the first message on it. No fds.
struct Hello {
    static constexpr Kind kind{"hello"};
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(const Hello&, const Hello&) = default;
};

// To a master, from a process that builds a cycle for it or from the master it is to succeed.

/// What a text is of.
enum class TextUse : std::uint8_t {
    configuration,  ///< a file, as it was read
    finding,        ///< a line about a build: an obstacle, or what would change
};

/// What a listening socket is for.
enum class ListenerUse : std::uint8_t {
    service,
    control,  ///< the control socket
    foreign,  ///< a service, opened by the service manager, whose its file is
};

/// Passes a listening socket on, or one of UDP, which says itself that it is. Carries 1 fd.
struct OfferListener {
    static constexpr Kind kind{"offer_listener", 1, 1};
    ListenerUse use = ListenerUse::service;
    Address configured;  ///< what it was opened for; the kernel may have picked the port
    friend bool operator==(const OfferListener&, const OfferListener&) = default;
};

/// What a file is for.
enum class FileUse : std::uint8_t { log, pid_file };

/// Passes an open file on. Carries 1 fd; none for a log that is standard error.
struct OfferFile {
    static constexpr Kind kind{"offer_file", 0, 1};
    FileUse use = FileUse::log;
    std::string path;  ///< 1 to `limits::max_text_bytes` bytes, no NUL
    friend bool operator==(const OfferFile&, const OfferFile&) = default;
};

/// A part of a text; the parts of one use make the whole, in order. No fds.
struct Text {
    static constexpr Kind kind{"text"};
    TextUse use = TextUse::finding;
    bool last = false;  ///< of this text
    std::string part;   ///< up to `limits::max_text_bytes` of any bytes
    friend bool operator==(const Text&, const Text&) = default;
};

/// The user that workers run as. Sent again for every further `limits::max_user_groups`. No fds.
struct User {
    static constexpr Kind kind{"user"};
    std::string name;  ///< 1 to `limits::max_user_name_bytes` bytes, no NUL
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::vector<std::uint32_t> groups;  ///< more of them; up to `limits::max_user_groups`
    friend bool operator==(const User&, const User&) = default;
};

/// Tells a successor where to go on. No fds.
struct Succession {
    static constexpr Kind kind{"succession"};
    std::uint32_t generation = 0;  ///< the last one there was
    bool rows_from_top = false;    ///< take rows of counters from the end of the table
    friend bool operator==(const Succession&, const Succession&) = default;
};

/// Names a row of counters that a worker of the predecessor uses, until that one has gone. No fds.
struct TakenRow {
    static constexpr Kind kind{"taken_row"};
    std::uint32_t row = 0;  ///< below `limits::max_counter_rows`
    friend bool operator==(const TakenRow&, const TakenRow&) = default;
};

/// Says that all of it has been said, and whether it is good. No fds.
struct Done {
    static constexpr Kind kind{"done"};
    bool success = false;
    friend bool operator==(const Done&, const Done&) = default;
};

/// Says whose a unix listener's socket file is to be, as its names were looked up. No fds.
struct FileOwner {
    static constexpr Kind kind{"file_owner"};
    std::uint32_t listener = 0;  ///< its place in the configuration, from 0
    std::optional<std::uint32_t> uid = {};
    std::optional<std::uint32_t> gid = {};
    friend bool operator==(const FileOwner&, const FileOwner&) = default;
};

/// Everything one process may tell another. The position of a type is its number on the wire:
/// append only; any other change to types or fields raises `protocol_version`.
using Message = std::variant<AddListener, AddZone, Start, Drain, Terminate, ReopenLogs, OpenPeer,
                             ClosePeer, Ready, Failed, Draining, Hello, OfferListener, OfferFile,
                             Text, User, Succession, TakenRow, Done, SetLogLevel, RemoveListener,
                             ServiceMessage, FileOwner, Shortcoming>;

/// Describes the type of `message`.
[[nodiscard]] Kind kind(const Message& message) noexcept;

}  // namespace ringfort::channel
