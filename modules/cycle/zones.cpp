module;
#include <ringfort/try.h>

#include <algorithm>
#include <compare>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.config;
import ringfort.shm;

namespace ringfort::cycle {
namespace {

/// Has `wanted` be what `request` asks for, too; says what does not agree.
void add(const ZoneRequest& request, ZoneRequest& wanted, std::vector<std::string>& obstacles) {
    if (!request.tag.empty() && !wanted.tag.empty() && request.tag != wanted.tag)
        return obstacles.push_back("zone " + request.name + ": it is used for " + wanted.tag +
                                   " already, and cannot be used for " + request.tag +
                                   ", too. Give each a [[zone]] of its own.");
    if (request.size != Bytes{0} && wanted.size != Bytes{0} && request.size != wanted.size)
        return obstacles.push_back("zone " + request.name + ": it is " + wanted.size.text() +
                                   " large, but " + request.size.text() + " are asked for.");
    if (wanted.tag.empty()) wanted.tag = request.tag;
    if (wanted.size == Bytes{0}) wanted.size = request.size;
    if (!wanted.prepare) wanted.prepare = request.prepare;
    wanted.reuse &= request.reuse;
}

/// Makes a pool of a new zone, with what is to go on from the one before it.
Result<shm::Pool> make_pool(const ZoneRequest& request, shm::Zone& zone,
                            const std::optional<shm::Pool>& before) {
    if (request.reuse && before) return shm::Pool::grow(*before, zone);
    return shm::Pool::format(zone, limits::max_counter_rows);
}

}  // namespace

std::vector<ZoneRequest> join(const std::vector<config::Zone>& configured,
                              const std::vector<ZoneRequest>& requests,
                              std::vector<std::string>& obstacles) {
    std::vector<ZoneRequest> joined;
    for (const config::Zone& zone : configured)
        joined.push_back({.name = zone.name, .size = zone.size, .reuse = !zone.noreuse});
    for (const ZoneRequest& request : requests) {
        const auto same = std::ranges::find(joined, request.name, &ZoneRequest::name);
        if (same == joined.end())
            joined.push_back(request);
        else
            add(request, *same, obstacles);
    }
    for (ZoneRequest& wanted : joined) {
        if (wanted.size == Bytes{0})
            obstacles.push_back("zone " + wanted.name + ": " + wanted.tag +
                                " needs it, but there is none of that name. Add a [[zone]].");
        if (wanted.tag.empty()) wanted.tag = pool_tag;
    }
    return joined;
}

Result<SharedZone> make_zone(const ZoneRequest& request, const SharedZone& before,
                             const OpenPool& open) {
    RF_LET(shm::Zone zone, shm::Zone::create(request.name, request.tag, request.size));
    if (request.content == Content::custom) {
        if (request.format) RF_TRY(request.format(zone));
        return std::make_shared<shm::Zone>(std::move(zone));
    }
    std::optional<shm::Pool> old;
    const bool larger = before && before->size() < request.size;
    const bool wanted = request.reuse ? larger : static_cast<bool>(request.prepare);
    if (before && open && wanted && !shm::Pool::unusable(*before)) {
        RF_LET(old, open(*before));
    }
    RF_LET(const shm::Pool made, make_pool(request, zone, old));
    if (request.prepare) RF_TRY(request.prepare(made, old ? &*old : nullptr));
    return std::make_shared<shm::Zone>(std::move(zone));
}

bool fits(shm::Zone& zone, const ZoneRequest& request) {
    return zone.name() == request.name && zone.tag() == request.tag &&
           zone.size() == request.size && zone.sound() &&
           (request.content == Content::custom || !shm::Pool::unusable(zone));
}

}  // namespace ringfort::cycle
