module;
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

/// A service's name may contain "-", which a bare key may as well.
std::string join(const std::string& path, const std::string& name) {
    return path.empty() ? name : path + "." + name;
}

class Printer {
public:
    /// Prints the keys of a table, then the tables inside it. TOML wants this order.
    void body(const TableSchema& schema, const std::string& path, const void* object) {
        for (const FieldSchema& field : schema.fields()) {
            if (field.nested == nullptr)
                key(field, path, field.write(object));
            else if (field.many && field.count(object) == 0)
                key(field, path, "[]");
        }
        for (const FieldSchema& field : schema.fields()) {
            if (field.nested == nullptr) continue;
            const std::size_t count = field.many ? field.count(object) : 1;
            for (std::size_t i = 0; i < count; ++i)
                table(*field.nested, join(path, field.name), field.many ? "[[{}]]" : "[{}]",
                      field.at(object, i));
        }
    }

    void table(const TableSchema& schema, const std::string& path, std::string_view brackets,
               const void* object) {
        if (!out_.empty()) out_ += '\n';
        out_ += fmt::format(fmt::runtime(brackets), path) + "\n";
        body(schema, path, object);
    }

    [[nodiscard]] std::string take() { return std::move(out_); }

private:
    void key(const FieldSchema& field, const std::string& path,
             const std::optional<std::string>& value) {
        constexpr std::size_t comment_column = 34;
        std::string line = value ? fmt::format("{} = {}", field.name, *value)
                                 : fmt::format("# {} is not set", field.name);
        if (explained_.insert(join(path, field.name)).second)
            line = fmt::format("{:<{}}  # {}", line, comment_column, field.doc);
        out_ += line + "\n";
    }

    std::string out_;
    std::set<std::string> explained_;
};

}  // namespace

std::string effective(const Settings& settings, const Registry& registry) {
    Printer printer;
    printer.body(core_schema(), "", &settings);
    for (const auto& [name, service] : registry.services()) {
        const auto value = settings.services.find(name);
        if (value != settings.services.end())
            printer.table(service.schema, "service." + name, "[{}]", value->second.value.get());
    }
    return printer.take();
}

}  // namespace ringfort::config
