module;
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.config;

namespace ringfort::config {
namespace {

using Kind = Node::Kind;

bool is_key(std::string_view name) {
    return !name.empty() &&
           name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == name.npos;
}

void wrong_shape(const FieldSchema& field, const Node& value, Report& report) {
    const std::string brackets = field.many ? "[[" + field.name + "]]" : "[" + field.name + "]";
    const std::string wanted = field.many ? "an array of tables" : "a table";
    report.add(value.span,
               fmt::format("`{}` must be {}, not {}", field.name, wanted, value.kind_text()),
               fmt::format("write {}", brackets));
}

}  // namespace

void TableSchema::add(FieldSchema field) {
    ensure(is_key(field.name), "a configuration key is made of a-z, 0-9 and _");
    for (const FieldSchema& other : fields_)
        ensure(other.name != field.name, "a configuration key was added twice");
    fields_.push_back(std::move(field));
}

void TableSchema::add_check(std::function<void(const void*, Faults&)> check) {
    checks_.push_back(std::move(check));
}

std::vector<std::string> TableSchema::required() const {
    std::vector<std::string> names;
    for (const FieldSchema& field : fields_)
        if (field.options.required) names.push_back(field.name);
    return names;
}

bool TableSchema::read(const Node& table, Report& report, void* object, Missing missing) const {
    const std::size_t before = report.count();
    std::vector<std::string> meant;
    bool sound = !report.incomplete();  // what the checks rely on is there
    for (const Member& member : table.members) {
        const auto field = std::find_if(fields_.begin(), fields_.end(),
                                        [&](const FieldSchema& f) { return f.name == member.key; });
        const bool foreign =
            std::find(foreign_.begin(), foreign_.end(), member.key) != foreign_.end();
        if (field != fields_.end())
            sound = read_field(*field, member.value, report, object) && sound;
        else if (!foreign)
            meant.push_back(unknown_key(member, report));
    }
    for (const std::string& name : required()) {
        if (table.find(name) != nullptr) continue;
        sound = false;
        const bool misspelt = std::find(meant.begin(), meant.end(), name) != meant.end();
        if (!misspelt && missing == Missing::is_an_error && !report.incomplete())
            report.add(table.span, fmt::format("the required key `{}` is missing", name),
                       fmt::format("add {} = ...", name));
    }
    Faults faults{table, report};
    if (sound)
        for (const auto& check : checks_) check(object, faults);
    return report.count() == before;
}

bool TableSchema::read_field(const FieldSchema& field, const Node& value, Report& report,
                             void* object) const {
    if (field.nested == nullptr) {
        const std::size_t before = report.count();
        field.read({value, field.name, field.options, report}, object);
        return report.count() == before;
    }
    if (field.many)
        read_items(field, value, report, object);
    else if (value.kind != Kind::table)
        wrong_shape(field, value, report);
    else
        field.nested->read(value, report, field.child(object));
    return true;  // checks look at this table's own keys, and expect defaults in those inside it
}

void TableSchema::read_items(const FieldSchema& field, const Node& value, Report& report,
                             void* object) const {
    if (value.kind != Kind::array) return wrong_shape(field, value, report);
    field.clear(object);
    const std::size_t count = value.items.size();
    if (count < field.options.min_items || count > field.options.max_items)
        report.add(value.span,
                   fmt::format("there must be {} to {} of [[{}]], not {}", field.options.min_items,
                               field.options.max_items, field.name, count));
    if (count > field.options.max_items) return;
    for (const Node& item : value.items) {
        void* const child = field.child(object);  // even for a wrong one: indices are kept
        if (item.kind == Kind::table)
            field.nested->read(item, report, child);
        else
            wrong_shape(field, item, report);
    }
}

std::string TableSchema::unknown_key(const Member& member, Report& report) const {
    std::vector<std::string> known = foreign_;
    for (const FieldSchema& field : fields_) known.push_back(field.name);
    std::sort(known.begin(), known.end());
    const bool table = member.value.kind == Kind::table;
    const std::string what = fmt::format("unknown {} `{}`", table ? "table" : "key", member.key);
    const std::string meant = nearest(member.key, known);
    const std::string_view home = report.home(member.key);
    if (!meant.empty())
        report.add(member.key_span, fmt::format("{}: did you mean `{}`?", what, meant));
    else if (!home.empty())
        report.add(member.key_span, what, fmt::format("it belongs in {}", home));
    else if (known.empty())
        report.add(member.key_span, what, "this table has no keys");
    else
        report.add(member.key_span, what, "known here: " + enumerate(known));
    return meant;
}

}  // namespace ringfort::config
