#include "config.h"

#include <optional>
#include <string>

namespace e2e {
namespace {

std::string quoted(const std::string& text) {
    return '"' + text + '"';  // the tests' paths and addresses hold nothing to escape
}

void add(std::string& out, const char* key, const std::optional<int>& value) {
    if (value) out += std::string{key} + " = " + std::to_string(*value) + "\n";
}
void add(std::string& out, const char* key, const std::optional<std::string>& value) {
    if (value) out += std::string{key} + " = " + quoted(*value) + "\n";
}

}  // namespace

std::string Config::text() const {
    std::string out = "[master]\n";
    add(out, "workers", workers);
    add(out, "drain_timeout_ms", drain_timeout_ms);
    add(out, "ready_timeout_ms", ready_timeout_ms);
    add(out, "kill_timeout_ms", kill_timeout_ms);
    add(out, "watchdog_ms", watchdog_ms);
    add(out, "build_timeout_ms", build_timeout_ms);
    add(out, "orphan_grace_ms", orphan_grace_ms);
    add(out, "upgrade_timeout_ms", upgrade_timeout_ms);
    add(out, "respawn_backoff_min_ms", respawn_backoff_min_ms);
    add(out, "respawn_budget", respawn_budget);
    add(out, "shutdown_delay_ms", shutdown_delay_ms);
    add(out, "open_files", open_files);
    add(out, "pid_file", pid_file);
    add(out, "control", control);
    add(out, "user", user);
    out += master_lines;
    if (connections || affinity || nice) out += "\n[worker]\n";
    add(out, "affinity", affinity);
    add(out, "nice", nice);
    add(out, "connections", connections);
    if (log_target || log_format || log_level) out += "\n[log]\n";
    add(out, "target", log_target);
    add(out, "format", log_format);
    add(out, "level", log_level);
    for (const ListenerConfig& listener : listeners)
        out += "\n[[listener]]\naddress = " + quoted(listener.address) +
               "\nservice = " + quoted(listener.service) + "\n" +
               (listener.reuseport ? "reuseport = true\n" : "") +
               (listener.udp ? "protocol = \"udp\"\n" : "");
    if (echo_idle_timeout_ms) out += "\n[service.echo]\n";
    add(out, "idle_timeout_ms", echo_idle_timeout_ms);
    if (!upstreams.empty()) {
        out += "\n[service.proxy]\nupstreams = [";
        for (const std::string& upstream : upstreams) out += quoted(upstream) + ", ";
        out += "]\n";
    }
    add(out, "connect_timeout_ms", connect_timeout_ms);
    // "idle_timeout_ms" of the proxy must not fall into another table.
    if (!upstreams.empty()) add(out, "idle_timeout_ms", proxy_idle_timeout_ms);
    return out + more;
}

}  // namespace e2e
