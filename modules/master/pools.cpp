module;
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.master;

import ringfort.base;
import ringfort.cycle;
import ringfort.process;
import ringfort.shm;

namespace ringfort::master {
namespace {

/// A zone of custom content is its own affair.
bool is_custom(const shm::Zone& zone) {
    return zone.name().starts_with("ringfort.");
}

std::string owner_text(const shm::Pool& pool, std::uint32_t row) {
    if (row >= pool.rows()) return "a master";
    const shm::OwnerName name = pool.owners().name(row);
    if (name.generation == 0) return "a builder";
    return fmt::format("worker slot {} of generation {}", name.slot, name.generation);
}

std::string sizes_text(const shm::PoolStatistics& statistics) {
    std::string text;
    auto out = std::back_inserter(text);
    for (const shm::BlockStatistics& blocks : statistics.sizes) {
        if (blocks.requests == 0) continue;
        if (blocks.block_bytes == 0)
            fmt::format_to(out, "  blocks of whole pages: {} pages used", blocks.used);
        else
            fmt::format_to(out, "  blocks of {} B: {} used, {} free, in {} pages",
                           blocks.block_bytes, blocks.used, blocks.free, blocks.pages);
        fmt::format_to(out, "; {} requests, {} failed\n", blocks.requests, blocks.failures);
    }
    return text;
}

}  // namespace

void Pools::keep(const std::vector<cycle::SharedZone>& zones, bool company) {
    const shm::OwnerName self{.process = process::identify(::getpid())};
    for (const cycle::SharedZone& zone : zones) {
        if (find(*zone) != nullptr || is_custom(*zone)) continue;
        auto pool = company ? shm::Pool::join(*zone, self) : shm::Pool::keep(*zone, self);
        if (pool)
            kept_.push_back({.zone = zone, .pool = *pool, .healing = shm::Healer{*pool}});
        else
            log::warning("zone {}: what is in it cannot be used: {}", zone->name(),
                         pool.error().text());
    }
}

void Pools::release() {
    std::erase_if(kept_, [](const Kept& kept) { return kept.zone.use_count() == 1; });
}

const shm::Pool* Pools::find(const shm::Zone& zone) const noexcept {
    const auto found =
        std::ranges::find_if(kept_, [&](const Kept& kept) { return kept.zone.get() == &zone; });
    return found == kept_.end() ? nullptr : &found->pool;
}

Result<shm::Pool> Pools::open(const shm::Zone& zone) const {
    const shm::Pool* const pool = find(zone);
    if (pool == nullptr) return Error{"open a pool", std::errc::no_such_file_or_directory};
    return *pool;
}

bool Pools::is_free(std::uint32_t row) const noexcept {
    return std::ranges::none_of(kept_, [&](const Kept& kept) {
        return !kept.pool.quarantined() && kept.pool.owners().living(row).has_value();
    });
}

void Pools::admit(std::uint32_t row, shm::OwnerName name) {
    for (const Kept& kept : kept_) {
        if (kept.pool.quarantined()) continue;
        if (const auto admitted = kept.pool.admit(row, name); !admitted)
            log::error("zone {}: {}", kept.zone->name(), admitted.error().text());
    }
}

void Pools::bury(std::uint32_t row, const shm::OwnerName& name) {
    for (Kept& kept : kept_) {
        // Not admitted there, it is not to be taken for whoever is.
        const auto owner = kept.pool.owners().living(row);
        if (owner && kept.pool.owners().name(row) == name) bury(kept, kept.pool.bury(*owner), row);
    }
    tend(now());
}

void Pools::bury(Kept& kept, const Result<bool>& buried, std::uint32_t row) {
    if (buried && *buried)
        log::warning("zone {}: what {} had begun is rolled back", kept.zone->name(),
                     owner_text(kept.pool, row));
    kept.healing.emplace(kept.pool);
}

void Pools::bury_process(std::uint64_t identity) {
    for (Kept& kept : kept_)
        for (std::uint32_t row = 0; row < kept.pool.owners().rows(); ++row)
            if (const auto owner = kept.pool.owners().living(row);
                owner && kept.pool.owners().name(row).process == identity)
                bury(kept, kept.pool.bury(*owner), row);
}

void Pools::watch(const std::vector<std::uint64_t>& own, bool company) {
    unsure_ = false;
    for (const Kept& kept : kept_) {
        const shm::Owners owners = kept.pool.owners();
        for (std::uint32_t row = 0; row < owners.rows() && !kept.pool.quarantined(); ++row) {
            const std::uint64_t identity = owners.name(row).process;
            if (!owners.living(row) || row == kept.pool.self().row || watched_.contains(identity) ||
                std::ranges::find(own, identity) != own.end() || (identity == 0 && company))
                continue;
            auto opened = process::open_identified(identity);
            if (opened)
                watched_.emplace(identity, *std::move(opened));
            else if (opened.error().is(std::errc::no_such_process))
                watched_.emplace(identity, Fd{});  // has ended: `tend` buries it
            else
                unsure_ = true;
        }
    }
    tend(now());
}

void Pools::add_to(std::vector<pollfd>& polled) const {
    for (const auto& [identity, pidfd] : watched_)
        polled.push_back({.fd = pidfd.get(), .events = POLLIN, .revents = 0});
}

void Pools::tend(Instant time) {
    std::vector<pollfd> polled;
    add_to(polled);
    if (!polled.empty() && ::poll(polled.data(), polled.size(), 0) < 0) polled.clear();
    std::size_t index = 0;
    for (auto it = watched_.begin(); it != watched_.end() && index < polled.size(); ++index) {
        if (it->second && polled[index].revents == 0) {
            ++it;
            continue;
        }
        bury_process(it->first);
        it = watched_.erase(it);
    }
    due_.reset();
    if (!kept_.empty()) due_ = time + limits::pool_check_ms;
    for (Kept& kept : kept_) {
        const shm::Healing healing = heal(kept);
        if (healing != shm::Healing::through)
            due_ = std::min(*due_, time + (healing == shm::Healing::more ? limits::heal_pause_ms
                                                                         : limits::lock_check_ms));
        if (!shm::Pool::unusable(*kept.zone) || std::exchange(kept.reported, true)) continue;
        kept.pool.quarantine();  // which for those in it a header's corruption does not do
        log::error(
            "zone {}: what is in it is corrupted; all that is asked of it fails, until a reload "
            "makes it anew",
            kept.zone->name());
    }
}

shm::Healing Pools::heal(Kept& kept) {
    for (std::uint32_t i = 0; kept.healing && i < limits::heal_steps; ++i) {
        const auto healed = kept.healing->step();
        if (healed && *healed == shm::Healing::refused) return *healed;
        if (!healed || *healed == shm::Healing::through) kept.healing.reset();
    }
    return kept.healing ? shm::Healing::more : shm::Healing::through;
}

std::string describe(const shm::Zone& zone, const shm::Pool* pool) {
    std::string text = fmt::format("zone {} ({}): {}", zone.name(), zone.tag(), zone.size().text());
    auto out = std::back_inserter(text);
    if (pool == nullptr) return text + (is_custom(zone) ? "\n" : ", unusable\n");
    std::uint32_t owners = 0;
    for (std::uint32_t row = 0; row < pool->rows(); ++row)
        owners += pool->owners().living(row) ? 1 : 0;
    const auto statistics = pool->try_statistics();
    if (!statistics) {
        fmt::format_to(
            out, ", {}\n",
            pool->quarantined() ? "corrupted: a reload makes it anew" : statistics.error().text());
        return text;
    }
    const auto holder = pool->lock().holder_row();
    if (*statistics) {
        const shm::PoolStatistics& seen = **statistics;
        fmt::format_to(out, ", {} of {} pages free, fragmentation {:.0f} %\n", seen.free_pages,
                       seen.pages, 100 * seen.fragmentation());
        text += sizes_text(seen);
    } else {
        text += holder ? ", its lock is held by " + owner_text(*pool, *holder) + "\n"
                       : std::string{", in use\n"};
    }
    fmt::format_to(std::back_inserter(text), "  lock: {} waits, {} recoveries; {} workers\n",
                   pool->lock().waits(), pool->lock().recoveries(), owners);
    return text;
}

}  // namespace ringfort::master
