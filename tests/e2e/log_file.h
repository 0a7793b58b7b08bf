#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "deadline.h"
#include "owned_fd.h"

namespace e2e {

/// A log that a process appends to, read while it grows: waiting is woken by inotify.
class LogFile {
public:
    /// `path` need not exist yet; its directory must.
    explicit LogFile(std::string path);

    [[nodiscard]] std::string text() const;
    [[nodiscard]] std::vector<std::string> lines() const;
    /// Returns the place to wait from, so that a later wait sees only what comes now.
    [[nodiscard]] std::size_t mark() const { return text().size(); }
    /// Returns the first whole line after `mark` that contains `part`. Throws std::runtime_error,
    /// with the whole log, when none comes in time.
    std::string wait_for(std::string_view part, std::size_t mark = 0, Deadline deadline = soon());
    /// Returns the whole lines after `mark` that contain `part`.
    [[nodiscard]] std::vector<std::string> find(std::string_view part, std::size_t mark = 0) const;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
    OwnedFd watch_;
};

}  // namespace e2e
