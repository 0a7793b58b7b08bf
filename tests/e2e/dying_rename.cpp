// Death in the middle: the process that has renamed a file to the path RINGFORT_E2E_DOOM is killed
// before it does anything more, if there is a file of that name with ".doom" behind it; once, as
// that is removed. Loaded by LD_PRELOAD.
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" int rename(const char* from, const char* to) noexcept {
    const long result = ::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    const char* const doomed = ::getenv("RINGFORT_E2E_DOOM");
    if (result != 0 || doomed == nullptr || ::strcmp(doomed, to) != 0)
        return static_cast<int>(result);
    char doom[PATH_MAX] = "";
    if (::strlen(doomed) + sizeof ".doom" > sizeof doom) return 0;
    ::strcat(::strcpy(doom, doomed), ".doom");
    if (::unlink(doom) == 0) ::kill(::getpid(), SIGKILL);
    return 0;
}
