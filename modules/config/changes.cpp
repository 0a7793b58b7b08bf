module;
#include <fmt/format.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

void compare(const TableSchema& schema, const std::string& path, const void* before,
             const void* after, std::vector<std::string>& changes) {
    for (const FieldSchema& field : schema.fields()) {
        const std::string key = path.empty() ? field.name : path + "." + field.name;
        if (field.nested != nullptr) {
            if (!field.many)
                compare(*field.nested, key, field.at(before, 0), field.at(after, 0), changes);
            continue;
        }
        const auto old = field.write(before);
        const auto now = field.write(after);
        if (old != now)
            changes.push_back(
                fmt::format("{}: {} -> {}", key, old.value_or("not set"), now.value_or("not set")));
    }
}

}  // namespace

std::vector<std::string> changes(const Settings& before, const Settings& after,
                                 const Registry& registry) {
    std::vector<std::string> found;
    compare(core_schema(), "", &before, &after, found);
    for (const auto& [name, service] : registry.services()) {
        const auto old = before.services.find(name);
        const auto now = after.services.find(name);
        if (old != before.services.end() && now != after.services.end())
            compare(service.schema, "service." + name, old->second.value.get(),
                    now->second.value.get(), found);
    }
    return found;
}

}  // namespace ringfort::config
