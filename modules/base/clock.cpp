module;
#include <fmt/format.h>

#include <ctime>
#include <string>
module ringfort.base;

namespace ringfort {

std::string wall_clock_text() {
    timespec time{};
    ::clock_gettime(CLOCK_REALTIME, &time);
    std::tm utc{};
    ::gmtime_r(&time.tv_sec, &utc);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900,
                       utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                       time.tv_nsec / 1'000'000);
}

}  // namespace ringfort
