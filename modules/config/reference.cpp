module;
#include <fmt/format.h>

#include <iterator>
#include <memory>
#include <string>
#include <string_view>
module ringfort.config;

namespace ringfort::config {
namespace {

/// Keeps a text inside its cell.
std::string cell(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '|') out += '\\';
        out += c;
    }
    return out;
}

std::string default_text(const FieldSchema& field, const void* object) {
    if (field.options.required) return "required";
    const auto value = field.write(object);
    return value ? "`" + *value + "`" : "not set";
}

void table(std::string& out, const TableSchema& schema, const std::string& title,
           const std::string& path) {
    fmt::format_to(std::back_inserter(out), "## `{}`\n\n{}\n", title, schema.doc());
    const std::shared_ptr<void> defaults = schema.make();
    bool head = false;
    for (const FieldSchema& field : schema.fields()) {
        if (field.nested != nullptr) continue;
        if (!head) out += "\n| key | type | default | range | meaning |\n|---|---|---|---|---|\n";
        head = true;
        fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} | {} |\n", field.name,
                       cell(field.type), cell(default_text(field, defaults.get())),
                       cell(field.range), cell(field.doc));
    }
    for (const FieldSchema& field : schema.fields()) {
        if (field.nested == nullptr) continue;
        const std::string name = path + field.name;
        out += "\n";
        table(out, *field.nested, field.many ? "[[" + name + "]]" : "[" + name + "]", name + ".");
    }
}

}  // namespace

std::string reference(const Registry& registry) {
    std::string out;
    for (const FieldSchema& field : core_schema().fields()) {
        if (!out.empty()) out += "\n";
        table(out, *field.nested, field.many ? "[[" + field.name + "]]" : "[" + field.name + "]",
              field.name + ".");
    }
    for (const auto& [name, service] : registry.services()) {
        out += "\n";
        table(out, service.schema, "[service." + name + "]", "service." + name + ".");
    }
    return out;
}

}  // namespace ringfort::config
