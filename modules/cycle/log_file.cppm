export module ringfort.cycle:log_file;

import ringfort.base;
import ringfort.std;

export namespace ringfort::cycle {

/// The name of the log target that is no file.
inline constexpr const char* standard_error = "stderr";

/// Opens the log for appending, close-on-exec, mode 0640 when it is new; an empty Fd for
/// `standard_error`. Errors: those of open(2).
[[nodiscard]] Result<Fd> open_log(const std::string& target);

}  // namespace ringfort::cycle
