/// Files and the directories they are in.
#pragma once
#include <string>
#include <string_view>

#include "../temp_dir.h"

namespace e2e {

using testing::TempDir;

/// Replaces a file as a whole: a reader sees the old text or the new one.
void write_file(const std::string& path, std::string_view text);
/// Returns the whole file; empty when there is none.
[[nodiscard]] std::string read_file(const std::string& path);

}  // namespace e2e
