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

/// Whether a listener names the service.
enum class Use { served, idle };

class Printer {
public:
    /// Prints the keys of a table, then the tables inside it. TOML wants this order.
    void body(const TableSchema& schema, const std::string& path, const void* object) {
        const std::shared_ptr<void> defaults = schema.make();
        for (const FieldSchema& field : schema.fields()) {
            if (field.nested == nullptr)
                key(field, path, value(field, object, defaults.get()));
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

    /// Says whether what is printed next is in use: otherwise required keys may be without value.
    void set_use(Use use) { use_ = use; }

    [[nodiscard]] std::string take() { return std::move(out_); }

private:
    [[nodiscard]] std::optional<std::string> value(const FieldSchema& field, const void* object,
                                                   const void* defaults) const {
        auto text = field.write(object);
        const bool optional = !field.options.required || use_ == Use::served;
        return optional || text != field.write(defaults) ? text : std::nullopt;
    }

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
    Use use_ = Use::served;
    std::set<std::string> explained_;
};

}  // namespace

std::string print_table(const TableSchema& schema, const std::string& path, const void* object) {
    Printer printer;
    printer.set_use(Use::idle);
    printer.table(schema, path, "[{}]", object);
    return printer.take();
}

std::string effective(const Settings& settings, const Registry& registry) {
    Printer printer;
    printer.body(core_schema(), "", &settings);
    for (const auto& [name, service] : registry.services()) {
        const auto value = settings.services.find(name);
        const bool served = std::any_of(
            settings.listeners.begin(), settings.listeners.end(),
            [&, &service_name = name](const Listener& l) { return l.service == service_name; });
        printer.set_use(served ? Use::served : Use::idle);
        if (value != settings.services.end())
            printer.table(service.schema, "service." + name, "[{}]", value->second.value.get());
    }
    return printer.take();
}

}  // namespace ringfort::config
