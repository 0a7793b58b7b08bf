module;
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {

const Registry::Service* Registry::find(std::string_view name) const {
    const auto found = services_.find(name);
    return found == services_.end() ? nullptr : &found->second;
}

std::vector<std::string> Registry::names() const {
    std::vector<std::string> result;
    for (const auto& [name, service] : services_) result.push_back(name);
    return result;
}

void Registry::insert(std::string name, Service service) {
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    ensure(!name.empty() && name.find_first_not_of(allowed) == name.npos,
           "a service's name is made of a-z, 0-9, _ and -");
    ensure(services_.emplace(std::move(name), std::move(service)).second,
           "a service was added twice");
}

}  // namespace ringfort::config
