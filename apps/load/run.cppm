export module load:run;

import ringfort;
import ringfort.std;
import :options;
import :report;

export namespace load {

/// Runs one load: connects, warms up, counts, waits for the answers still due, closes its half and
/// waits for the server to close the other. Blocks. Errors: those of Loop::open, and EMFILE when
/// the limit of descriptors is too low for that many connections.
[[nodiscard]] ringfort::Result<Report> run(const Options& options);

}  // namespace load
