#pragma once
#include <filesystem>
#include <string>
#include <string_view>

namespace e2e {

/// A directory of its own for a test, removed with all it holds. Its path is short enough for the
/// 107 bytes of a unix socket's address.
class TempDir {
public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
    [[nodiscard]] std::string file(std::string_view name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_;
};

/// Replaces a file as a whole: a reader sees the old text or the new one.
void write_file(const std::string& path, std::string_view text);
/// Returns the whole file; empty when there is none.
[[nodiscard]] std::string read_file(const std::string& path);

}  // namespace e2e
