export module ringfort.process:program;

import ringfort.base;
import ringfort.std;

export namespace ringfort::process {

/// The program that this process runs: where its file is, and its arguments. What is found there
/// later may be a newer one.
class Program {
public:
    /// Knows none.
    Program() = default;
    /// Takes main's arguments down, first thing in main: the path is made absolute from the working
    /// directory of this moment, or found in PATH, as the shell did; failing that, it is the file
    /// that runs now.
    [[nodiscard]] static Program of(int argc, char* const* argv);

    /// Returns the file's path; empty when none is known.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    /// Becomes what the path leads to, in the directory of that moment, with the same arguments,
    /// this process's environment and `additions` ("NAME=value"). Descriptors that are not
    /// close-on-exec stay open. A directory that is gone is not gone to. Returns only with an
    /// error: those of execve(2).
    [[nodiscard]] Error execute(const std::vector<std::string>& additions) const;

private:
    std::string path_;
    std::string directory_;  ///< where it was started
    std::vector<std::string> arguments_;
};

}  // namespace ringfort::process
