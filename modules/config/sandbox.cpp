module;
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>
module ringfort.config;

import ringfort.base;

namespace ringfort::config {
namespace {

constexpr std::int64_t max_path = 4'095;  // PATH_MAX without its NUL
constexpr std::int64_t max_port = 65'535;

/// Nobody may believe that there is a wall where there is none.
void check_mode(const Sandbox& sandbox, Faults& faults) {
    if (sandbox.mode == SandboxMode::on || sandbox.chroot.empty()) return;
    faults.add(
        {{"chroot"}, "`chroot` has no effect while `mode` is \"off\"", "", {"mode"}, "here"});
}

}  // namespace

bool operator==(const Sandbox&, const Sandbox&) noexcept = default;

Table<Sandbox> sandbox_schema() {
    return table<Sandbox>(
               "What workers may reach beyond their connections. Where services name what they "
               "need "
               "(`reach`), as the proxy its upstreams, that is allowed as well.")
        .field("mode", &Sandbox::mode,
               "on: workers give up all privileges, and what is not allowed below is refused; off: "
               "they may do what their user may",
               Names<SandboxMode>{{"on", SandboxMode::on}, {"off", SandboxMode::off}})
        .field(
            "refusal", &Sandbox::refusal,
            "what becomes of a system call that is not allowed: error: it fails with EPERM; "
            "kill: SIGSYS ends the worker, and the log says so",
            Names<SandboxRefusal>{{"error", SandboxRefusal::error}, {"kill", SandboxRefusal::kill}})
        .field("chroot", &Sandbox::chroot,
               "the workers' root directory, and where paths below begin; needs root; \"\": the "
               "master's",
               {.max = max_path})
        .field("read", &Sandbox::read,
               "files, and folders with all below them, that services may read",
               {.min = 1, .max = max_path})
        .field("write", &Sandbox::write,
               "the same, to read and change, and to make and remove files in",
               {.min = 1, .max = max_path})
        .field("connect_ports", &Sandbox::connect_ports,
               "TCP ports, of every host, that services may connect to",
               {.min = 1, .max = max_port})
        .field("connect_anywhere", &Sandbox::connect_anywhere,
               "services may connect to every TCP port")
        .field("connect_unix", &Sandbox::connect_unix,
               "services may connect to unix sockets, those that file permissions let them")
        .field("datagrams", &Sandbox::datagrams,
               "services may open UDP sockets, which reach every host and port")
        .check(check_mode);
}

}  // namespace ringfort::config
