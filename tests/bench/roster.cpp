#include "roster.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace bench {
namespace {

using Form = Entry::Form;

constexpr std::string_view contestants = "tests/bench/contestants/";

/// Our own directory first, then where distributions put servers, whatever PATH says.
std::optional<std::string> find_program(const Entry& entry, const Site& site) {
    std::vector<std::string> folders{site.build + "/"};
    const char* path = std::getenv("PATH");
    std::istringstream listed{path != nullptr ? path : ""};
    for (std::string folder; std::getline(listed, folder, ':');) folders.push_back(folder + "/");
    folders.emplace_back("/usr/sbin/");
    for (const std::string& program : entry.programs) {
        for (const std::string& folder : folders) {
            std::string candidate = folder + program;
            if (access(candidate.c_str(), X_OK) == 0) return candidate;
        }
    }
    return std::nullopt;
}

/// A port nobody uses now, for servers that cannot be asked which one the kernel picked.
std::uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    const bool found =
        fd >= 0 && bind(fd, generic, size) == 0 && getsockname(fd, generic, &size) == 0;
    if (fd >= 0) close(fd);
    if (!found) throw std::runtime_error("cannot find a free port");
    return ntohs(address.sin_port);
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
        "[master]\nworkers = 1\n\n[worker]\nconnections = 12000\n\n"
        "[[listener]]\naddress = \"127.0.0.1:0\"\nservice = \"{}\"\n",
        service);
    if (entry.kind == Kind::relay)
        text +=
            fmt::format("\n[service.proxy]\nupstreams = [\"127.0.0.1:{}\"]\n", site.upstream_port);
    return text;
}

/// The stream module may be built in or a file of its own, and saying the wrong one is an error.
std::string nginx_configuration(std::uint16_t port, const Site& site) {
    std::string load;
    for (const char* module : {"/usr/lib/nginx/modules/ngx_stream_module.so",
                               "/usr/lib64/nginx/modules/ngx_stream_module.so"}) {
        if (access(module, R_OK) == 0) load = fmt::format("load_module {};\n", module);
    }
    return load + fmt::format(
                      "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 30000;\n"
                      "pid {0}/nginx.pid;\nevents {{ worker_connections 25000; }}\n"
                      "stream {{\n  server {{\n    listen 127.0.0.1:{1} backlog=4096;\n"
                      "    proxy_pass 127.0.0.1:{2};\n    proxy_buffer_size 64k;\n  }}\n}}\n",
                      site.directory, port, site.upstream_port);
}

std::string haproxy_configuration(std::uint16_t port, const Site& site) {
    return fmt::format(
        "global\n  nbthread 1\n  maxconn 12000\n"
        "defaults\n  mode tcp\n  option splice-auto\n  timeout connect 10s\n"
        "  timeout client 1h\n  timeout server 1h\n"
        "listen relay\n  bind 127.0.0.1:{} backlog 4096\n  server upstream 127.0.0.1:{}\n",
        port, site.upstream_port);
}

}  // namespace

std::vector<Entry> roster() {
    const auto program = [](std::string_view name) {
        return std::vector<std::string>{std::string{contestants} + std::string{name},
                                        "tests/bench/" + std::string{name}};
    };
    return {
        {"ringfort", Kind::echo, Form::ours, {"apps/echo/echo"}},
        {"uring", Kind::echo, Form::plain, program("uring_echo")},
        {"epoll", Kind::echo, Form::plain, program("epoll_echo")},
        {"asio-epoll-callbacks", Kind::echo, Form::plain, program("asio_echo_epoll"), "callbacks"},
        {"asio-epoll-coroutines", Kind::echo, Form::plain, program("asio_echo_epoll"),
         "coroutines"},
        {"asio-uring-callbacks", Kind::echo, Form::plain, program("asio_echo_uring"), "callbacks"},
        {"asio-uring-coroutines", Kind::echo, Form::plain, program("asio_echo_uring"),
         "coroutines"},
        {"libuv", Kind::echo, Form::plain, program("libuv_echo")},
        {"go", Kind::echo, Form::plain, program("go_echo")},
        {"ringfort", Kind::relay, Form::ours, {"apps/proxy/proxy"}},
        {"uring", Kind::relay, Form::plain, program("uring_relay")},
        {"splice", Kind::relay, Form::plain, program("splice_relay")},
        {"epoll", Kind::relay, Form::plain, program("epoll_relay")},
        {"nginx", Kind::relay, Form::nginx, {"nginx"}},
        {"haproxy", Kind::relay, Form::haproxy, {"haproxy"}},
    };
}

std::vector<Entry> control_roster() {
    std::vector<Entry> twice;
    for (const Entry& entry : roster()) {
        if (entry.name != "epoll") continue;
        twice.push_back(entry);
        twice.back().name = "ringfort";  // takes the place of ours in every ratio
        twice.push_back(entry);
    }
    return twice;
}

std::optional<Launch> launch_of(const Entry& entry, const Site& site) {
    const auto program = find_program(entry, site);
    if (!program) return std::nullopt;
    const std::string stem = fmt::format("{}/{}-{}", site.directory, entry.name,
                                         entry.kind == Kind::echo ? "echo" : "relay");
    Launch launch{.name = entry.name,
                  .command = {*program},
                  .log_file = stem + ".log",
                  .port_follows = "listening ",
                  .ready_word = "",
                  .core = site.cores.server};
    std::vector<std::string>& command = launch.command;
    switch (entry.form) {
        case Form::plain:
            command.emplace_back("0");
            if (entry.kind == Kind::relay) command.push_back(std::to_string(site.upstream_port));
            if (!entry.variant.empty()) command.push_back(entry.variant);
            break;
        case Form::ours:
            write(stem + ".toml", our_configuration(entry, site));
            command.insert(command.end(), {"-c", stem + ".toml"});
            launch.port_follows = "listening on 127.0.0.1:";
            launch.ready_word = "ready";
            break;
        case Form::nginx:
            launch.port = free_port();
            write(stem + ".conf", nginx_configuration(launch.port, site));
            command.insert(command.end(), {"-e", "stderr", "-p", site.directory, "-c",
                                           std::filesystem::absolute(stem + ".conf").string()});
            break;
        case Form::haproxy:
            launch.port = free_port();
            write(stem + ".cfg", haproxy_configuration(launch.port, site));
            command.insert(command.end(), {"-db", "-f", stem + ".cfg"});
            break;
    }
    return launch;
}

Launch upstream_launch(const Site& site) {
    const Entry entry{"upstream",
                      Kind::echo,
                      Form::plain,
                      {"tests/bench/epoll_echo", std::string{contestants} + "epoll_echo"}};
    auto launch = launch_of(entry, site);
    if (!launch) throw std::runtime_error("the echo behind the relays is not built: epoll_echo");
    launch->core = site.cores.upstream;
    return *launch;
}

}  // namespace bench
