#include "files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <ios>
#include <stdexcept>
#include <string>
#include <string_view>

#include "owned_fd.h"

namespace e2e {

void write_file(const std::string& path, std::string_view text) {
    const std::string draft = path + ".draft";
    {
        std::ofstream out{draft, std::ios::binary};
        out << text;
        if (!out.flush()) throw std::runtime_error{"write " + draft};
    }
    std::filesystem::rename(draft, path);
}

std::string read_file(const std::string& path) {
    std::string result;
    const OwnedFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    char piece[16 * 1024];
    // An error ends it like the end of the file: a process may vanish while its /proc is read.
    for (ssize_t got = 0; fd && (got = ::read(fd.get(), piece, sizeof piece)) > 0;)
        result.append(piece, static_cast<std::size_t>(got));
    return result;
}

}  // namespace e2e
