#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace e2e {

struct ListenerConfig {
    std::string address = "127.0.0.1:0";
    std::string service = "echo";
    bool reuseport = false;
    bool udp = false;
};

/// The configuration of one server under test. What is empty is left to the defaults.
struct Config {
    int workers = 2;
    int drain_timeout_ms = 10'000;
    std::optional<int> ready_timeout_ms;
    std::optional<int> kill_timeout_ms;
    std::optional<int> watchdog_ms;
    std::optional<int> build_timeout_ms;
    std::optional<int> upgrade_timeout_ms;
    std::optional<int> orphan_grace_ms;
    std::optional<int> respawn_backoff_min_ms;
    int respawn_budget = 1'000;  ///< tests kill more than anybody would pay for
    std::optional<int> shutdown_delay_ms;
    std::optional<int> open_files;
    std::optional<int> connections;
    std::optional<std::string> affinity;
    std::optional<int> nice;
    std::optional<std::string> pid_file;
    std::optional<std::string> control;
    std::optional<std::string> user;
    std::optional<std::string> log_target;
    std::optional<std::string> log_format;
    std::optional<std::string> log_level;
    std::string master_lines;  ///< further ones of [master], each with its newline
    std::vector<ListenerConfig> listeners = {{}};
    std::optional<int> echo_idle_timeout_ms;
    std::vector<std::string> upstreams;
    std::optional<int> connect_timeout_ms;
    std::optional<int> proxy_idle_timeout_ms;
    std::string more;  ///< further tables, as TOML

    /// Returns it as TOML.
    [[nodiscard]] std::string text() const;
};

}  // namespace e2e
