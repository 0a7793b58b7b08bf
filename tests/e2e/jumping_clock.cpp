// The wall clock as it is when somebody sets it again and again: every reading is a day before or a
// day behind the one before. Loaded by LD_PRELOAD; the monotonic clocks are the kernel's.
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr long day = 86'400;

/// Turned with every reading: first forward, so that what waits for a moment finds it long past.
long jump() {
    static unsigned readings = 0;
    return __atomic_add_fetch(&readings, 1, __ATOMIC_RELAXED) % 2 == 1 ? day : -day;
}

bool is_wall_clock(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
    const long result = ::syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && is_wall_clock(clock)) time->tv_sec += jump();
    return static_cast<int>(result);
}

int gettimeofday(timeval* time, void*) noexcept {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1'000;
    return 0;
}

time_t time(time_t* out) noexcept {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != nullptr) *out = now.tv_sec;
    return now.tv_sec;
}

}  // extern "C"
