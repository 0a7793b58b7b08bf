module;
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>
module ringfort.config;

import :document;

namespace ringfort::config {
namespace {

/// Reads a schema's defaults as if they were written: what is printed must be readable.
void check_defaults(const TableSchema& schema) {
    const std::shared_ptr<void> defaults = schema.make();
    const Source source{"default values of a service", print_table(schema, "s", defaults.get())};
    Report report{source};
    const auto parsed = parse_toml(source.text);
    const Node* root = std::get_if<Node>(&parsed);
    const Node* table = root == nullptr ? nullptr : root->find("s");
    ensure(table != nullptr, "a service's defaults cannot be written as TOML");
    schema.read(*table, report, schema.make().get(), Missing::is_allowed);
    if (report.count() > 0) panic(report.take().text());
}

}  // namespace

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
    ensure(name.size() <= limits::max_service_name_bytes, "a service name that is too long");
    constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    ensure(!name.empty() && name.find_first_not_of(allowed) == name.npos,
           "a service's name is made of a-z, 0-9, _ and -");
    check_defaults(service.schema);
    ensure(services_.emplace(std::move(name), std::move(service)).second,
           "a service was added twice");
}

}  // namespace ringfort::config
