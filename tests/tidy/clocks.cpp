#include "clocks.h"

#include <array>

namespace tidy {
namespace {

constexpr std::array words{
    std::string_view{"CLOCK_REALTIME"},
    std::string_view{"CLOCK_REALTIME_COARSE"},
    std::string_view{"CLOCK_REALTIME_ALARM"},
    std::string_view{"CLOCK_TAI"},
    std::string_view{"IORING_TIMEOUT_REALTIME"},
    std::string_view{"gettimeofday"},
    std::string_view{"timespec_get"},
    std::string_view{"high_resolution_clock"},
    std::string_view{"utc_clock"},
    std::string_view{"tai_clock"},
    // They take a moment of the wall clock.
    std::string_view{"pthread_cond_timedwait"},
    std::string_view{"pthread_mutex_timedlock"},
    std::string_view{"sem_timedwait"},
    std::string_view{"mq_timedreceive"},
    std::string_view{"mq_timedsend"},
};

std::string_view wall_clock_in(std::string_view line) {
    for (const auto word : words)
        if (has_word(line, word)) return word;
    if (has_word(line, "system_clock") && line.find("now(") != line.npos)
        return "system_clock::now";
    for (const std::string_view call : {"::time(nullptr", "::time(NULL", "::time(&"})
        if (line.find(call) != line.npos) return "time(2)";
    return {};
}

}  // namespace

Findings check_clocks(const Source& source) {
    // Dates in the log, and nothing else.
    if (source.path == "modules/base/clock.cpp") return {};
    Findings findings;
    const std::string code = code_of(source.text);
    std::size_t number = 0;
    for (const auto line : lines_of(code)) {
        ++number;
        if (const auto found = wall_clock_in(line); !found.empty())
            findings.push_back(
                {source.path, number,
                 "use ringfort::now(), which nobody can set, instead of " + std::string{found}});
    }
    return findings;
}

}  // namespace tidy
