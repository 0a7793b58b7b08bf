module;
#include <ringfort/try.h>
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;
import ringfort.shm;

namespace ringfort::cycle {
namespace {

std::string_view remedy(const Error& error) {
    if (error.is(std::errc::address_in_use))
        return " Another program listens there: stop it or choose another address.";
    if (error.is(std::errc::permission_denied))
        return " Ports below 1024 need root or CAP_NET_BIND_SERVICE; a socket file needs a "
               "directory that "
               "this user may write to.";
    if (error.is(std::errc::address_not_available))
        return " This machine has no interface with that address.";
    if (error.is(std::errc::no_such_file_or_directory)) return " The directory does not exist.";
    if (error.is(std::errc::too_many_files_open))
        return " Raise master.open_files or the hard limit of open files.";
    return "";
}

std::string obstacle(std::string_view what, const Error& error) {
    return std::string{what} + ": " + error.text() + "." + std::string{remedy(error)};
}

}  // namespace

Built Cycle::build(config::Settings settings, std::uint32_t generation, const Cycle* old,
                   const std::vector<ZoneRequest>& requests, AddressInUse in_use,
                   std::uint32_t workers) {
    Built built;
    std::unique_ptr<Cycle> cycle{new Cycle{std::move(settings), generation}};
    if (auto file = open_log(cycle->settings_.log.target); file)
        cycle->log_file_ = *std::move(file);
    else
        built.obstacles.push_back(obstacle("log " + cycle->settings_.log.target, file.error()));
    cycle->take_zones(old, requests, built.obstacles);
    cycle->take_listeners(old, in_use, workers, built.obstacles);
    if (built.obstacles.empty()) built.cycle = std::move(cycle);
    return built;
}

void Cycle::take_listeners(const Cycle* old, AddressInUse in_use, std::uint32_t workers,
                           std::vector<std::string>& obstacles) {
    for (const config::Listener& wanted : settings_.listeners) {
        const auto owner = find_owner(wanted);
        if (!owner)
            obstacles.push_back("listener " + wanted.address.text() + ": " + owner.error().text() +
                                ". Nobody is called so on this machine.");
        bindings_.push_back({.listeners = {},
                             .settings = wanted,
                             .owner = owner ? *owner : Owner{},
                             .served = wanted.reuseport ? workers : 1});
    }
    if (old != nullptr) carry_over(old->bindings_);
    for (Binding& binding : bindings_) open_missing(binding, in_use, obstacles);
}

/// Gives each wanted listener the old one it means, each at most once. A port that is named goes
/// before one that the kernel picks: the first can be satisfied by one socket only.
void Cycle::carry_over(const std::vector<Binding>& old) {
    std::vector<const Binding*> available;
    for (const Binding& binding : old)
        if (binding.first().reachable()) available.push_back(&binding);
    const auto take = [&](Binding& binding, const Address& (Listener::*address)() const noexcept) {
        if (!binding.listeners.empty()) return;
        const auto same = std::ranges::find_if(available, [&](const Binding* candidate) {
            return (candidate->first().*address)() == binding.settings.address;
        });
        if (same == available.end()) return;
        binding.listeners = (*same)->listeners;
        binding.carried_over = true;
        available.erase(same);
    };
    for (Binding& binding : bindings_) take(binding, &Listener::bound);
    for (Binding& binding : bindings_) take(binding, &Listener::configured);
}

/// Opens the sockets of a binding that no older cycle has.
void Cycle::open_missing(Binding& binding, AddressInUse in_use,
                         std::vector<std::string>& obstacles) {
    const config::Listener& wanted = binding.settings;
    const auto failed = [&](const Error& error) {
        if (in_use != AddressInUse::is_allowed || !error.is(std::errc::address_in_use))
            obstacles.push_back(obstacle("listener " + wanted.address.text(), error));
    };
    if (binding.listeners.empty()) {
        auto opened = Listener::open(wanted, binding.owner);
        if (!opened) return failed(opened.error());
        binding.listeners.push_back(*std::move(opened));
    }
    while (binding.listeners.size() < binding.served) {
        auto opened = binding.first().open_beside(wanted);
        if (!opened) return failed(opened.error());
        if (!binding.carried_over)
            if (const auto begun = (*opened)->begin(wanted); !begun) return failed(begun.error());
        binding.listeners.push_back(*std::move(opened));
    }
}

void Cycle::take_zones(const Cycle* old, const std::vector<ZoneRequest>& requests,
                       std::vector<std::string>& obstacles) {
    std::vector<ZoneRequest> wanted = requests;
    for (const config::Zone& zone : settings_.zones)
        wanted.push_back({.name = zone.name, .tag = "", .size = zone.size});
    for (const ZoneRequest& request : wanted) {
        const auto fitting = [&](const SharedZone& zone) { return fits(*zone, request); };
        if (old != nullptr) {
            const auto found = std::ranges::find_if(old->zones_, fitting);
            if (found != old->zones_.end()) {
                zones_.push_back(*found);
                continue;
            }
        }
        auto made = make_zone(request);
        if (made)
            zones_.push_back(*std::move(made));
        else
            obstacles.push_back(obstacle("zone " + request.name, made.error()));
    }
}

Result<void> Cycle::reopen_log() {
    RF_LET(log_file_, open_log(settings_.log.target));
    return {};
}

}  // namespace ringfort::cycle
