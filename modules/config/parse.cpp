module;
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
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

void report_syntax(const std::vector<SyntaxError>& errors, Report& report) {
    for (const SyntaxError& error : errors) {
        Problem& problem = report.add(error.where, error.message, error.help);
        if (error.first)
            problem.notes.push_back({"the first one is here", report.snippet(*error.first)});
    }
}

void add_homes(const TableSchema& schema, Report& report) {
    for (const FieldSchema& table : schema.fields())
        for (const FieldSchema& field : table.nested->fields())
            report.add_home(field.name,
                            table.many ? "[[" + table.name + "]]" : "[" + table.name + "]");
}

/// Reads one service's table, present or not, into a new value.
ServiceValue read_service(const Registry::Service& service, const Node* table, bool used,
                          Report& report) {
    const std::shared_ptr<void> object = service.schema.make();
    if (table != nullptr)
        service.schema.read(*table, report, object.get(),
                            used ? Missing::is_an_error : Missing::is_allowed);
    return {object, service.type};
}

/// Reports services that need a table and have none, where a listener names them.
void check_needed(const Registry& registry, const Node& root, const Node* tables, Report& report) {
    const Node* listeners = root.find("listener");
    std::vector<std::string> told;
    for (const Node& listener : listeners == nullptr ? std::vector<Node>{} : listeners->items) {
        const Node* name = listener.find("service");
        const auto* service = name == nullptr ? nullptr : registry.find(name->string);
        if (service == nullptr || (tables != nullptr && tables->find(name->string) != nullptr))
            continue;
        const auto required = service->schema.required();
        const bool known = std::find(told.begin(), told.end(), name->string) != told.end();
        if (required.empty() || known || report.incomplete()) continue;
        told.push_back(name->string);
        report.add(name->span,
                   fmt::format("service `{}` needs {}, and there is no [service.{}]", name->string,
                               enumerate(required), name->string),
                   fmt::format("add [service.{}] with {} = ...", name->string, required.front()));
    }
}

/// Reports a listener whose service cannot take what comes there.
void check_protocol(const Registry& registry, const Registry::Service& service,
                    const Node& listener, Report& report) {
    const Node* protocol = listener.find("protocol");
    const bool udp = protocol != nullptr && protocol->string == "udp";
    if (udp ? service.takes.datagrams : service.takes.connections) return;
    const Node& name = *listener.find("service");
    std::vector<std::string> able;
    for (const auto& [other, known] : registry.services())
        if (udp ? known.takes.datagrams : known.takes.connections) able.push_back(other);
    Problem& problem = report.add(
        name.span,
        fmt::format("service `{}` takes no {}", name.string,
                    udp ? "datagrams: it has no `on_datagram`" : "connections: it has no `serve`"),
        udp ? "remove `protocol`, or name a service that takes datagrams"
            : "add protocol = \"udp\", or name a service that takes connections");
    if (!able.empty()) problem.help += ": " + enumerate(able, "or");
    if (udp) problem.notes.push_back({"the protocol is here", report.snippet(protocol->span)});
}

void check_listeners(const Registry& registry, const Node& root, Report& report) {
    const Node* listeners = root.find("listener");
    if (listeners == nullptr) return;
    const std::vector<std::string> known = registry.names();
    for (const Node& listener : listeners->items) {
        const Node* name = listener.find("service");
        if (name == nullptr || name->string.empty()) continue;
        if (const auto* service = registry.find(name->string)) {
            check_protocol(registry, *service, listener, report);
            continue;
        }
        const std::string meant = nearest(name->string, known);
        report.add(name->span,
                   fmt::format("unknown service `{}`{}", name->string,
                               meant.empty() ? "" : ": did you mean `" + meant + "`?"),
                   known.empty() ? "this application has no services"
                                 : "this application has " + enumerate(known));
    }
}

void check_service_tables(const Registry& registry, const Node& tables, Report& report) {
    const std::vector<std::string> known = registry.names();
    if (tables.kind != Node::Kind::table) {
        report.add(tables.span,
                   fmt::format("`service` must be a table, not {}", tables.kind_text()),
                   "write [service.NAME] with one service's keys below it");
        return;
    }
    for (const Member& member : tables.members) {
        if (member.value.kind != Node::Kind::table) {
            report.add(member.key_span,
                       fmt::format("`{}` is not the table of a service", member.key),
                       "write [service.NAME] with one service's keys below it");
        } else if (registry.find(member.key) == nullptr) {
            const std::string meant = nearest(member.key, known);
            report.add(member.key_span,
                       fmt::format("unknown service `{}`{}", member.key,
                                   meant.empty() ? "" : ": did you mean `" + meant + "`?"),
                       known.empty() ? "this application has no services"
                                     : "this application has " + enumerate(known));
        }
    }
}

void read_services(const Registry& registry, const Node& root, Report& report, Settings& settings) {
    const Node* tables = root.find("service");
    if (tables != nullptr) check_service_tables(registry, *tables, report);
    check_listeners(registry, root, report);
    check_needed(registry, root, tables, report);
    for (const auto& [name, service] : registry.services()) {
        const Node* table = tables == nullptr ? nullptr : tables->find(name);
        if (table != nullptr && table->kind != Node::Kind::table) table = nullptr;
        const bool used = std::any_of(
            settings.listeners.begin(), settings.listeners.end(),
            [&, &service_name = name](const Listener& l) { return l.service == service_name; });
        settings.services.emplace(name, read_service(service, table, used, report));
    }
}

std::string_view without_mark(std::string_view text) {
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    return text;
}

}  // namespace

const Settings& Parsed::operator*() const& noexcept {
    const auto* settings = std::get_if<Settings>(&state_);
    ensure(settings != nullptr, "the settings of a configuration that has problems");
    return *settings;
}

Settings&& Parsed::operator*() && noexcept {
    auto* settings = std::get_if<Settings>(&state_);
    ensure(settings != nullptr, "the settings of a configuration that has problems");
    return std::move(*settings);
}

const Problems& Parsed::problems() const noexcept {
    const auto* problems = std::get_if<Problems>(&state_);
    ensure(problems != nullptr, "the problems of a configuration that has none");
    return *problems;
}

Parsed parse(const Source& source, const Registry& registry) {
    if (source.text.size() > limits::max_config_size.count) {
        const std::string limit = limits::max_config_size.text();
        return Problems{{{source.name, "the configuration is larger than " + limit, {}, "", {}}}};
    }
    const Source read{source.name, std::string{without_mark(source.text)}, source.overrides};
    Report report{read};
    Document document = read_document(read.text);
    report_syntax(document.errors, report);
    Settings settings;
    if (document.root) {
        if (!document.errors.empty()) report.mark_incomplete();
        override_values(*document.root, read.overrides, report.first_override(), report);
        add_homes(core_schema(), report);
        core_schema().read(*document.root, report, &settings);
        read_services(registry, *document.root, report, settings);
    }
    if (report.count() > 0) return report.take();
    return settings;
}

}  // namespace ringfort::config
