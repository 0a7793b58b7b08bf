export module ringfort.config:sandbox;

import ringfort.base;
import ringfort.std;
import :codec;
import :schema;

export namespace ringfort::config {

/// Whether workers give up what they do not need.
enum class SandboxMode : std::uint8_t { on, off };

/// What becomes of a system call that a sandbox does not allow.
enum class SandboxRefusal : std::uint8_t {
    error,  ///< it fails
    kill    ///< it ends the worker
};

/// [sandbox]: what workers may reach beyond their connections, their services' own needs aside.
struct Sandbox {
    SandboxMode mode = SandboxMode::on;
    SandboxRefusal refusal = SandboxRefusal::error;
    std::string chroot;              ///< empty: none
    std::vector<std::string> read;   ///< files and folders, as written
    std::vector<std::string> write;  ///< the same
    std::vector<std::uint16_t> connect_ports;
    bool connect_anywhere = false;
    bool connect_unix = false;
    bool datagrams = false;
    friend bool operator==(const Sandbox&, const Sandbox&) noexcept;
};

/// Returns the schema of [sandbox].
[[nodiscard]] Table<Sandbox> sandbox_schema();

}  // namespace ringfort::config
