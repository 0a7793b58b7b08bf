module;
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string_view>
module ringfort.base;

namespace ringfort {

void panic(std::string_view what, std::source_location where) noexcept {
    char line[512];
    const int length =
        std::snprintf(line, sizeof line, "ringfort: invariant broken in process %d: %.*s (%s:%u)\n",
                      static_cast<int>(::getpid()), static_cast<int>(what.size()), what.data(),
                      where.file_name(), static_cast<unsigned>(where.line()));
    if (length > 0) {
        const auto bytes = static_cast<std::size_t>(length) < sizeof line
                               ? static_cast<std::size_t>(length)
                               : sizeof line - 1;
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line, bytes);
    }
    std::abort();
}

}  // namespace ringfort
