module;
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
module ringfort.process;

namespace ringfort::process {
namespace {

/// The memory that the kernel shows as the command line; null before `prepare`.
struct Area {
    char* begin = nullptr;
    std::size_t size = 0;
    // The copies, named here so that leak checkers find them whatever the program does to its argv
    // and environ.
    char** arguments = nullptr;
    char** environment = nullptr;
};

Area area;

/// Follows strings as long as each begins where the one before ended.
char* follow(char* end, std::span<char* const> strings) {
    for (char* text : strings) {
        if (text != end) break;
        end = text + std::strlen(text) + 1;
    }
    return end;
}

char** copy(std::span<char* const> strings) {
    std::size_t bytes = 0;
    for (const char* text : strings) bytes += std::strlen(text) + 1;
    // In one piece, which stays whatever becomes of the pointers: unsetenv(3) drops some.
    char* end = new char[bytes];
    auto** copies = new char*[strings.size() + 1];
    for (std::size_t i = 0; i < strings.size(); ++i) {
        const std::size_t size = std::strlen(strings[i]) + 1;
        copies[i] = static_cast<char*>(std::memcpy(end, strings[i], size));
        end += size;
    }
    copies[strings.size()] = nullptr;
    return copies;
}

std::span<char* const> environment() {
    std::size_t count = 0;
    while (environ != nullptr && environ[count] != nullptr) ++count;
    return {environ, count};
}

/// The C library's own pointers into argv[0], which error(3) and others print.
void move_invocation_name(char* from, char* to) {
    if (program_invocation_name != from) return;
    program_invocation_short_name = to + (program_invocation_short_name - from);
    program_invocation_name = to;
}

}  // namespace

void Title::prepare(int argc, char** argv) {
    if (argc <= 0 || argv == nullptr || argv[0] == nullptr) return;
    const std::span<char* const> arguments{argv, static_cast<std::size_t>(argc)};
    char* const begin = argv[0];
    char* const end = follow(follow(begin, arguments), environment());
    char** copies = copy(arguments);
    environ = copy(environment());
    move_invocation_name(begin, copies[0]);
    std::copy_n(copies, argc, argv);
    area = {begin, static_cast<std::size_t>(end - begin), copies, environ};
}

void Title::set(std::string_view text) noexcept {
    char name[16] = {};  // TASK_COMM_LEN
    text.copy(name, sizeof name - 1);
    ::prctl(PR_SET_NAME, name);
    if (area.begin == nullptr) return;
    // The last byte stays NUL. A title that is longer than the arguments were overwrites the NUL at
    // their end, by which the kernel knows that it has to read on in the environment.
    const std::size_t size = text.copy(area.begin, area.size - 1);
    std::memset(area.begin + size, 0, area.size - size);
}

}  // namespace ringfort::process
