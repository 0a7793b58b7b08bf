module;
#include <ringfort/try.h>
#include <unistd.h>

#include <cstdint>
#include <ctime>
#include <optional>
#include <string>
#include <vector>
module ringfort.process;

import ringfort.base;

namespace ringfort::process {
namespace {

Result<void> change_root(const std::string& root) {
    if (::chroot(root.c_str()) != 0) {
        const Error error = Error::last("chroot");
        log::error("chroot to {}: {}", root, error.code().message());
        return error;
    }
    if (::chdir("/") != 0) return Error::last("chdir");
    return {};
}

/// Has the C library read now what it reads when it is first asked for the time of day.
void read_time_zone() noexcept {
    const std::time_t epoch = 0;
    std::tm parts{};
    (void)::gmtime_r(&epoch, &parts);
}

Result<void> noted(const std::string& path, const Result<void>& allowed) {
    if (!allowed) log::error("the sandbox cannot allow {}: {}", path, allowed.error().text());
    return allowed;
}

bool connects(const SandboxOptions& options) noexcept {
    return options.connect_anywhere || !options.connect_ports.empty();
}

Result<void> restrict_paths_and_ports(const SandboxOptions& options) {
    RF_LET(Landlock ruleset, Landlock::create({.connections = !options.connect_anywhere,
                                               .abstract_sockets = !options.abstract_sockets}));
    for (const std::string& path : options.read) RF_TRY(noted(path, ruleset.allow_reading(path)));
    for (const std::string& path : options.write) RF_TRY(noted(path, ruleset.allow_writing(path)));
    for (const std::uint16_t port : options.connect_ports) RF_TRY(ruleset.allow_connecting(port));
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
    // Where the search for leaks finds memory and threads; not in a root of its own.
    (void)ruleset.allow_reading("/proc");
#endif
#endif
    return ruleset.enforce();
}

}  // namespace

std::vector<std::string> sandbox_shortcomings(const SandboxOptions& options) {
    std::vector<std::string> texts;
    const int abi = Landlock::abi();
    const bool files = !options.read.empty() || !options.write.empty();
    if (abi == 0)
        texts.push_back("this kernel has no Landlock, or it is switched off or refused: " +
                        std::string{files ? "workers may open every file their user may, not only "
                                            "those of the configuration"
                                          : "seccomp and the ring alone keep workers from files"});
    if (abi < Landlock::ports_abi && !options.connect_ports.empty() && !options.connect_anywhere)
        texts.emplace_back(
            "this kernel's Landlock knows no ports, as that of Linux 6.7 does: workers may connect "
            "to every TCP port, not only to those of the configuration");
    if (abi < Landlock::scopes_abi && options.unix_sockets && !options.abstract_sockets)
        texts.emplace_back(
            "this kernel's Landlock knows no scopes, as that of Linux 6.12 does: workers may "
            "connect to abstract unix sockets of all processes");
    if (!has_call_filters())
        texts.emplace_back(
            "this kernel has no seccomp filters, or refuses them: workers may make every system "
            "call, "
            "and only Landlock and missing privileges stand in the way");
    return texts;
}

Result<DropOutcome> enter_sandbox(const SandboxOptions& options,
                                  const std::optional<Credentials>& credentials) {
    read_time_zone();
    if (!options.root.empty()) RF_TRY(change_root(options.root));
    RF_TRY(drop_bounding_set());
    DropOutcome outcome = DropOutcome::dropped;
    if (credentials) {
        RF_LET(outcome, credentials->drop());
    }
    if (options.dumpable && credentials && outcome == DropOutcome::dropped) RF_TRY(make_dumpable());
    RF_TRY(drop_capabilities());
    RF_TRY(forbid_new_privileges());
    if (Landlock::abi() > 0) RF_TRY(restrict_paths_and_ports(options));
    if (has_call_filters())
        RF_TRY(filter_calls({.reading = !options.read.empty(),
                             .writing = !options.write.empty(),
                             .streams = connects(options),
                             .unix_sockets = options.unix_sockets,
                             .datagrams = options.datagrams,
                             .ring = options.ring,
                             .refusal = options.refusal}));
    return outcome;
}

}  // namespace ringfort::process
