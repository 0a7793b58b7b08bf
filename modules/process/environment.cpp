module;
#include <ringfort/try.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.process;

namespace ringfort::process {
namespace {

/// Whether `keep_only` has been at this process's environment: else there is nothing to restore,
/// and what the application has set meanwhile stays.
bool reduced = false;

Result<void> set(const std::string& name, const std::string& value) {
    if (::setenv(name.c_str(), value.c_str(), 1) != 0) return Error::last("setenv");
    return {};
}

}  // namespace

Environment Environment::current() {
    Environment taken;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto sign = text.find('=');
        if (sign == 0 || sign == text.npos) continue;  // nothing that getenv(3) would find
        taken.variables_.emplace_back(text.substr(0, sign), text.substr(sign + 1));
    }
    return taken;
}

Result<void> Environment::keep_only(const std::vector<std::string>& entries) const {
    reduced = true;
    if (::clearenv() != 0) return Error{"clearenv", ENOMEM};
    for (const std::string& entry : entries) {
        const auto sign = entry.find('=');
        const std::string name = entry.substr(0, sign);
        if (sign != entry.npos) {
            RF_TRY(set(name, entry.substr(sign + 1)));
            continue;
        }
        const auto found = std::ranges::find_if(
            variables_, [&](const auto& variable) { return variable.first == name; });
        if (found != variables_.end()) RF_TRY(set(name, found->second));
    }
    return {};
}

Result<void> Environment::restore() const {
    if (!std::exchange(reduced, false)) return {};
    if (::clearenv() != 0) return Error{"clearenv", ENOMEM};
    for (const auto& [name, value] : variables_) RF_TRY(set(name, value));
    return {};
}

}  // namespace ringfort::process
