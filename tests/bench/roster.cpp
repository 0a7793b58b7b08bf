#include "roster.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace bench {
namespace {

using Form = Entry::Form;

/// Those whom a list of contestants is expected to have: whoever is missing is named.
constexpr std::array known{
    std::pair{Kind::echo, std::string_view{"uring"}},
    std::pair{Kind::echo, std::string_view{"epoll"}},
    std::pair{Kind::echo, std::string_view{"asio-epoll-callbacks"}},
    std::pair{Kind::echo, std::string_view{"asio-epoll-coroutines"}},
    std::pair{Kind::echo, std::string_view{"asio-uring-callbacks"}},
    std::pair{Kind::echo, std::string_view{"asio-uring-coroutines"}},
    std::pair{Kind::echo, std::string_view{"libuv"}},
    std::pair{Kind::echo, std::string_view{"libevent"}},
    std::pair{Kind::echo, std::string_view{"go"}},
    std::pair{Kind::echo, std::string_view{"tokio"}},
    std::pair{Kind::relay, std::string_view{"uring"}},
    std::pair{Kind::relay, std::string_view{"splice"}},
    std::pair{Kind::relay, std::string_view{"epoll"}},
    std::pair{Kind::relay, std::string_view{"nginx"}},
    std::pair{Kind::relay, std::string_view{"haproxy"}},
};

/// A command whose program is there; empty otherwise.
std::vector<std::string> runnable(std::vector<std::string> command) {
    if (command.empty() || access(command.front().c_str(), X_OK) != 0) return {};
    return command;
}

Entry yardstick(const Site& site) {
    return {"epoll", Kind::echo, Form::contract,
            runnable({site.build + "/tests/bench/epoll_echo", "@PORT@"})};
}

std::vector<Entry> listed(const Site& site) {
    std::vector<Entry> entries;
    std::ifstream file(site.build + "/tests/bench/contestants/contestants.txt");
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        std::string kind;
        Entry entry;
        std::getline(fields, kind, '|');
        std::getline(fields, entry.name, '|');
        entry.kind = kind == "relay" ? Kind::relay : Kind::echo;
        for (std::string word; std::getline(fields, word, '|');) entry.command.push_back(word);
        entry.command = runnable(std::move(entry.command));
        if (!entry.name.empty()) entries.push_back(std::move(entry));
    }
    return entries;
}

bool among(const std::vector<Entry>& entries, Kind kind, std::string_view name) {
    return std::any_of(entries.begin(), entries.end(), [&](const Entry& entry) {
        return entry.kind == kind && entry.name == name;
    });
}

void write(const std::string& path, const std::string& text) {
    std::ofstream file(path);
    file << text;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
}

std::string our_configuration(const Entry& entry, const Site& site) {
    const std::string service = entry.kind == Kind::echo ? "echo" : "proxy";
    std::string text = fmt::format(
        "[master]\nworkers = {}\n\n[worker]\nconnections = 12000\ndriver = \"{}\"\n\n"
        "[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"{}\"\n",
        site.workers, site.driver, service);
    if (entry.kind == Kind::relay)
        text +=
            fmt::format("\n[service.proxy]\nupstreams = [\"127.0.0.1:{}\"]\n", site.upstream_port);
    return text;
}

}  // namespace

std::vector<Entry> roster(const Site& site) {
    std::vector<Entry> all{
        {"ringfort", Kind::echo, Form::ours, runnable({site.build + "/apps/echo/echo"})},
        {"ringfort", Kind::relay, Form::ours, runnable({site.build + "/apps/proxy/proxy"})}};
    const std::vector<Entry> others = listed(site);
    all.insert(all.end(), others.begin(), others.end());
    if (!among(all, Kind::echo, "epoll")) all.push_back(yardstick(site));
    for (const auto& [kind, name] : known)
        if (!among(all, kind, name)) all.push_back({std::string{name}, kind});
    return all;
}

std::vector<std::string> peers_of(Kind kind) {
    std::vector<std::string> names;
    for (const auto& [of, name] : known)
        if (of == kind) names.emplace_back(name);
    return names;
}

std::vector<Entry> control_roster(const Site& site) {
    std::vector<Entry> twice{yardstick(site), yardstick(site)};
    twice.front().name = "ringfort";  // takes the place of ours in every ratio
    return twice;
}

std::optional<Launch> launch_of(const Entry& entry, const Site& site) {
    if (entry.command.empty()) return std::nullopt;
    const std::string stem = fmt::format("{}/{}-{}", site.directory, entry.name,
                                         entry.kind == Kind::echo ? "echo" : "relay");
    Launch launch{.name = entry.name,
                  .command = entry.command,
                  .log_file = stem + ".log",
                  .port_follows = "listening ",
                  .ready_word = "",
                  .core = site.cores.server};
    for (std::string& word : launch.command) {
        if (word == "@PORT@") word = "0";
        if (word == "@UPSTREAM_PORT@") word = std::to_string(site.upstream_port);
    }
    if (entry.form == Form::ours) {
        write(stem + ".toml", our_configuration(entry, site));
        launch.command.insert(launch.command.end(), {"-c", stem + ".toml"});
        launch.port_follows = "listening on 127.0.0.1:";
        launch.ready_word = "ready";
    }
    return launch;
}

Launch upstream_launch(const Site& site) {
    Entry entry = yardstick(site);
    entry.name = "upstream";
    auto launch = launch_of(entry, site);
    if (!launch) throw std::runtime_error("the echo behind the relays is not built: epoll_echo");
    launch->core = site.cores.upstream;
    return *launch;
}

}  // namespace bench
