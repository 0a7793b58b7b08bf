module;
#include <ringfort/try.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>
module ringfort;

import ringfort.base;
import ringfort.config;
import ringfort.process;
import ringfort.uring;

namespace ringfort {

Confinement::Confinement(const config::Settings& settings, const Reaches& reaches)
    : on_{settings.sandbox.mode == config::SandboxMode::on},
      options_{.root = settings.sandbox.chroot,
               .read = settings.sandbox.read,
               .write = settings.sandbox.write,
               .connect_ports = settings.sandbox.connect_ports,
               .connect_anywhere = settings.sandbox.connect_anywhere,
               .unix_sockets = settings.sandbox.connect_unix,
               .abstract_sockets = settings.sandbox.connect_unix,
               .datagrams = settings.sandbox.datagrams,
               .dumpable = settings.master.core_size.has_value(),
               .refusal = settings.sandbox.refusal == config::SandboxRefusal::kill
                              ? process::Refusal::kill
                              : process::Refusal::error} {
    for (const auto& [service, reach] : reaches)
        if (std::ranges::any_of(settings.listeners, [&](const config::Listener& listener) {
                return listener.service == service;
            }))
            allow(reach(settings));
}

void Confinement::allow(const Reach& reach) {
    options_.read.insert(options_.read.end(), reach.read.begin(), reach.read.end());
    options_.write.insert(options_.write.end(), reach.write.begin(), reach.write.end());
    for (const Address& address : reach.connect) allow(address);
    options_.connect_anywhere |= reach.connect_anywhere;
    options_.datagrams |= reach.datagrams;
}

void Confinement::allow(const Address& address) {
    if (!address.is_unix()) return options_.connect_ports.push_back(address.port());
    options_.unix_sockets = true;
    options_.abstract_sockets |= address.path().empty();
}

std::optional<uring::Permits> Confinement::permits() const {
    if (!on_) return std::nullopt;
    return uring::Permits{.files = !options_.read.empty() || !options_.write.empty(),
                          .connections = options_.connect_anywhere ||
                                         !options_.connect_ports.empty() || options_.unix_sockets ||
                                         options_.datagrams};
}

void Confinement::warn() const {
    if (!on_) return;
    for (const std::string& text : process::sandbox_shortcomings(options_))
        log::warning("{}", text);
}

Result<void> Confinement::enter(const std::optional<process::Credentials>& credentials,
                                uring::Backend backend) const {
    auto outcome = process::DropOutcome::dropped;
    if (on_) {
        process::SandboxOptions options = options_;
        options.ring = backend == uring::Backend::io_uring;
        RF_LET(outcome, process::enter_sandbox(options, credentials));
    } else if (credentials) {
        RF_LET(outcome, credentials->drop());
        if (options_.dumpable && outcome == process::DropOutcome::dropped)
            RF_TRY(process::make_dumpable());
    }
    if (outcome == process::DropOutcome::not_root)
        log::warning("master.user {} has no effect: only root can become another user",
                     credentials->user());
    return {};
}

}  // namespace ringfort
