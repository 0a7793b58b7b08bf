export module ringfort:confinement;

import ringfort.base;
import ringfort.config;
import ringfort.process;
import ringfort.std;
import ringfort.uring;
import :reach;

// Not exported: how a configuration becomes a sandbox.
namespace ringfort {

/// What each service reaches that says so, by its name.
using Reaches = std::map<std::string, std::function<Reach(const config::Settings&)>>;

/// The sandbox of the workers of one configuration. A value.
class Confinement {
public:
    /// Joins what the configuration allows and what those services reach that have a listener.
    Confinement(const config::Settings& settings, const Reaches& reaches);

    /// Returns what the sandbox has room for, if there is one.
    [[nodiscard]] const process::SandboxOptions& options() const noexcept { return options_; }
    /// Returns what the workers' rings permit; nothing without a sandbox.
    [[nodiscard]] std::optional<uring::Permits> permits() const;
    /// Warns of what this machine's kernel cannot do for it.
    void warn() const;
    /// Puts this process, a worker, into it, and makes it the workers' user; `backend` is what it
    /// has made. Errors: those of process::enter_sandbox.
    [[nodiscard]] Result<void> enter(const std::optional<process::Credentials>& credentials,
                                     uring::Backend backend) const;

private:
    void allow(const Reach& reach);
    void allow(const Address& address);

    bool on_;
    process::SandboxOptions options_;
};

}  // namespace ringfort
