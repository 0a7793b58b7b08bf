module;
#include <ringfort/try.h>
#include <sys/resource.h>

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
        return " Raise the hard limit of open files (ulimit -Hn, LimitNOFILE=).";
    return "";
}

/// Tells of descriptors that have run out: so they have for all listeners that follow.
std::string shortage(const Error& error, std::size_t listeners) {
    rlimit limit{};
    (void)::getrlimit(RLIMIT_NOFILE, &limit);
    return "listeners: " + error.text() + ". The " + std::to_string(listeners) +
           " listeners need a descriptor each, and a worker some more, but only " +
           std::to_string(limit.rlim_cur) +
           " are allowed: raise the hard limit (ulimit -Hn, LimitNOFILE=).";
}

std::string obstacle(std::string_view what, const Error& error) {
    return std::string{what} + ": " + error.text() + "." + std::string{remedy(error)};
}

}  // namespace

Built Cycle::build(config::Settings settings, std::uint32_t generation, Stock stock,
                   const std::vector<ZoneRequest>& requests, const BuildOptions& options) {
    Built built;
    std::unique_ptr<Cycle> cycle{new Cycle{std::move(settings), generation}};
    cycle->take_log(std::move(stock.log), built.obstacles);
    cycle->take_zones(stock, requests, options, built.obstacles);
    cycle->take_listeners(std::move(stock), options, built.obstacles);
    if (built.obstacles.empty()) built.cycle = std::move(cycle);
    return built;
}

Stock Cycle::stock() const {
    Stock stock{.groups = {}, .zones = zones_, .made = {}, .log = {}};
    for (const Binding& binding : bindings_)
        if (binding.first().reachable()) stock.groups.push_back({.listeners = binding.listeners});
    return stock;
}

void Cycle::take_log(std::optional<Fd> stocked, std::vector<std::string>& obstacles) {
    auto file = stocked ? Result<Fd>{*std::move(stocked)} : open_log(settings_.log.target);
    if (file)
        log_file_ = *std::move(file);
    else
        obstacles.push_back(obstacle("log " + settings_.log.target, file.error()));
}

void Cycle::take_listeners(Stock stock, const BuildOptions& options,
                           std::vector<std::string>& obstacles) {
    for (std::size_t i = 0; i < settings_.listeners.size(); ++i) {
        const config::Listener& wanted = settings_.listeners[i];
        const auto known = stock.owners.find(i);
        const auto owner =
            known == stock.owners.end() ? find_owner(wanted) : Result<Owner>{known->second};
        if (!owner)
            obstacles.push_back("listener " + wanted.text() + ": " + owner.error().text() +
                                ". Nobody is called so on this machine.");
        bindings_.push_back({.listeners = {},
                             .settings = wanted,
                             .owner = owner ? *owner : Owner{},
                             .served = wanted.reuseport ? options.workers : 1});
    }
    carry_over(std::move(stock.groups));
    for (Binding& binding : bindings_) {
        const auto opened = open_missing(binding, options);
        if (!opened && opened.error().is(std::errc::too_many_files_open))
            return obstacles.push_back(shortage(opened.error(), bindings_.size()));
        if (!opened && (options.in_use != AddressInUse::is_allowed ||
                        !opened.error().is(std::errc::address_in_use)))
            obstacles.push_back(obstacle("listener " + binding.settings.text(), opened.error()));
    }
}

/// Gives each wanted listener the group there is that it means, each at most once. A port that is
/// named goes before one that the kernel picks: the first can be satisfied by one group only.
void Cycle::carry_over(std::vector<Group> stocked) {
    const auto take = [&](Binding& binding, const Address& (Listener::*address)() const noexcept) {
        if (!binding.listeners.empty()) return;
        const auto same = std::ranges::find_if(stocked, [&](const Group& candidate) {
            return candidate.first().protocol() == binding.settings.protocol &&
                   (candidate.first().*address)() == binding.settings.address;
        });
        if (same == stocked.end()) return;
        binding.listeners = std::move(same->listeners);
        binding.carried_over = !same->fresh;
        stocked.erase(same);
    };
    for (Binding& binding : bindings_) take(binding, &Listener::bound);
    for (Binding& binding : bindings_) take(binding, &Listener::configured);
}

/// Opens the sockets of a binding that there are not yet.
Result<void> Cycle::open_missing(Binding& binding, const BuildOptions& options) {
    const config::Listener& wanted = binding.settings;
    const auto keep = [&](std::shared_ptr<Listener> opened) {
        if (options.opened) options.opened(*opened);
        binding.listeners.push_back(std::move(opened));
    };
    if (binding.listeners.empty()) {
        RF_LET(auto opened, Listener::open(wanted, binding.owner));
        keep(std::move(opened));
    }
    while (binding.listeners.size() < binding.served) {
        if (options.dry && binding.carried_over) {  // so that the other one stays as it is
            RF_LET(auto tried, binding.first().open_beside(wanted, Bound::later));
            binding.listeners.push_back(std::move(tried));
            continue;
        }
        RF_LET(auto opened, binding.first().open_beside(wanted));
        if (!binding.carried_over) RF_TRY(opened->begin(wanted));
        keep(std::move(opened));
    }
    return {};
}

void Cycle::take_zones(const Stock& stock, const std::vector<ZoneRequest>& requests,
                       const BuildOptions& options, std::vector<std::string>& obstacles) {
    for (const ZoneRequest& request : join(settings_.zones, requests, obstacles)) {
        ZonePlan plan = plan_zone(
            request, stock.zones,
            {.readable = options.dry || options.open_pool, .most = options.max_grown_content});
        const auto made = std::ranges::find_if(
            stock.made, [&](const auto& zone) { return fits(*zone, request); });
        if (made != stock.made.end())
            zones_.push_back(*made);
        else if (!plan.obstacle.empty())
            obstacles.push_back(plan.obstacle);
        else if (plan.fate.fate == Fate::kept)
            zones_.push_back(plan.before);
        else if (!options.dry)
            make(request, plan, options.open_pool, obstacles);
        zone_fates_.push_back(std::move(plan.fate));
    }
}

void Cycle::make(const ZoneRequest& request, const ZonePlan& plan, const OpenPool& open,
                 std::vector<std::string>& obstacles) {
    auto made = make_zone(request, plan, open);
    if (made)
        zones_.push_back(*std::move(made));
    else if (made.error().is(std::errc::file_too_large) && plan.fate.fate == Fate::grown)
        obstacles.push_back(too_full(plan));  // it has become so since it was looked at
    else
        obstacles.push_back(obstacle("zone " + request.name, made.error()));
}

Result<void> Cycle::reopen_log() {
    RF_LET(log_file_, open_log(settings_.log.target));
    return {};
}

}  // namespace ringfort::cycle
