export module ringfort.config:parse;

import ringfort.base;
import ringfort.std;
import :problem;
import :registry;
import :settings;
import :source;

export namespace ringfort::config {

/// Settings, or everything that is wrong with the text. Reading the wrong side aborts.
class [[nodiscard]] Parsed {
public:
    Parsed(Settings settings) : state_{std::move(settings)} {}
    Parsed(Problems problems) : state_{std::move(problems)} {}

    /// Tells whether there are settings.
    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }
    [[nodiscard]] const Settings& operator*() const& noexcept;
    [[nodiscard]] Settings&& operator*() && noexcept;
    [[nodiscard]] const Settings* operator->() const noexcept { return &**this; }
    /// Returns what is wrong; valid as long as this object.
    [[nodiscard]] const Problems& problems() const noexcept;

private:
    std::variant<Settings, Problems> state_;
};

/// Reads a configuration. Has no side effects, resolves no names and opens nothing: the paths in
/// it are left as they are written. Never fails in another way than by problems.
Parsed parse(const Source& source, const Registry& registry);

/// The text of a file, or what keeps it from being read.
using Read = std::variant<Source, Problems>;

/// Reads a configuration file of up to limits::max_config_size. Blocks as reading a file does
/// (for ever on a pipe nobody writes to). What read(2) or open(2) report becomes a problem.
[[nodiscard]] Read read(const std::string& path);

/// Reads a configuration file and parses it.
Parsed load(const std::string& path, const Registry& registry);

}  // namespace ringfort::config
