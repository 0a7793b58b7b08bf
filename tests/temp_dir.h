/// A directory of a test's own: for whatever a test of any layer leaves in the file system.
#pragma once
#include <stdlib.h>

#include <cstddef>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace testing {

/// A directory, below TMPDIR if that is set, removed with all it holds. Its path is short enough
/// for the 107 bytes of a unix socket's address.
class TempDir {
public:
    TempDir() {
        std::string name = (std::filesystem::temp_directory_path() / "rf-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"mkdtemp " + name};
        path_ = name;
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }
    /// Counts what it holds.
    [[nodiscard]] std::size_t entries() const {
        const std::filesystem::directory_iterator found{path_};
        return static_cast<std::size_t>(std::distance(begin(found), end(found)));
    }

private:
    std::filesystem::path path_;
};

}  // namespace testing
