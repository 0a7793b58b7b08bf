/// What is written to the log, for a test to read. Include it behind the modules.
#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <string>

namespace testing {

/// Where the log goes as long as this lives.
class CapturedLog {
public:
    CapturedLog() : file_{::memfd_create("log", MFD_CLOEXEC)} {
        ringfort::log::write_to(ringfort::Fd{::fcntl(file_.get(), F_DUPFD_CLOEXEC, 0)});
    }
    CapturedLog(CapturedLog&&) = delete;
    ~CapturedLog() { ringfort::log::write_to(ringfort::Fd{}); }
    /// Returns the first 8 KiB of it.
    [[nodiscard]] std::string text() const {
        char buffer[8'192];
        const ssize_t size = ::pread(file_.get(), buffer, sizeof buffer, 0);
        return {buffer, size > 0 ? static_cast<std::size_t>(size) : 0};
    }
    [[nodiscard]] std::size_t lines() const {
        std::size_t count = 0;
        for (const char c : text()) count += c == '\n' ? 1 : 0;
        return count;
    }

private:
    ringfort::Fd file_;
};

}  // namespace testing
