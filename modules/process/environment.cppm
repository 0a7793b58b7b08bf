export module ringfort.process:environment;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// An environment as it once was, and what may be made of it. A value: a configuration that asks
/// for less, and a later one that asks for more, both find what was there at first.
class Environment {
public:
    /// Copies this process's.
    [[nodiscard]] static Environment current();

    /// Gives this process an environment of `entries` alone, in their order: `NAME` keeps the
    /// variable, if it was there; `NAME=VALUE` sets it. Nobody may hold a pointer that getenv(3)
    /// has returned. Errors: ENOMEM; EINVAL for an entry without a name.
    [[nodiscard]] Result<void> keep_only(const std::vector<std::string>& entries) const;
    /// Gives this process all of it back. Errors: ENOMEM.
    [[nodiscard]] Result<void> restore() const;
    /// Does the first with entries, and the second without.
    [[nodiscard]] Result<void> apply(const std::optional<std::vector<std::string>>& entries) const {
        return entries ? keep_only(*entries) : restore();
    }

private:
    std::vector<std::pair<std::string, std::string>> variables_;
};

}  // namespace ringfort::process
