module;
#include <ringfort/try.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <functional>
#include <memory>
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

using Prepare = decltype(ZoneRequest::prepare);

/// Has the second find what the first has prepared.
Prepare both(Prepare first, Prepare second) {
    if (!first || !second) return first ? first : second;
    return [first = std::move(first), second = std::move(second)](
               const shm::Pool& made, const shm::Pool* before) -> Result<void> {
        RF_TRY(first(made, before));
        return second(made, before);
    };
}

/// Has `wanted` be what `request` asks for, too; says what does not agree.
void add(const ZoneRequest& request, ZoneRequest& wanted, std::vector<std::string>& obstacles) {
    const ZoneRequest* const custom = request.content == Content::custom  ? &request
                                      : wanted.content == Content::custom ? &wanted
                                                                          : nullptr;
    if (custom != nullptr)
        return obstacles.push_back("zone " + request.name + ": " + custom->tag +
                                   " lays it out in its own way, so that nobody else can use it. "
                                   "Take another name.");
    if (!request.tag.empty() && !wanted.tag.empty() && request.tag != wanted.tag)
        return obstacles.push_back("zone " + request.name + ": it is used for " + wanted.tag +
                                   " already, and cannot be used for " + request.tag +
                                   ", too. Give each a [[zone]] of its own.");
    if (request.size != Bytes{0} && wanted.size != Bytes{0} && request.size != wanted.size)
        return obstacles.push_back("zone " + request.name + ": it is " + wanted.size.text() +
                                   " large, but " + request.size.text() + " are asked for.");
    if (wanted.tag.empty()) wanted.tag = request.tag;
    if (wanted.size == Bytes{0}) wanted.size = request.size;
    wanted.prepare = both(std::move(wanted.prepare), request.prepare);
    wanted.reuse &= request.reuse;
}

/// Says what of a zone cannot be made, whatever there is already; empty: nothing.
std::string objection(const ZoneRequest& wanted) {
    const Bytes least =
        wanted.content == Content::pool ? limits::min_pool_zone_size : limits::min_zone_size;
    if (wanted.name.empty() || wanted.name.size() > limits::max_zone_name_bytes)
        return "a name has from 1 to " + std::to_string(limits::max_zone_name_bytes) + " bytes.";
    if (wanted.tag.size() > limits::max_zone_tag_bytes)
        return "its purpose is " + wanted.tag + ", but has no more than " +
               std::to_string(limits::max_zone_tag_bytes) + " bytes.";
    if (wanted.size == Bytes{0})
        return (wanted.tag.empty() ? "a service" : wanted.tag) +
               " needs it, but there is none of that name. Add a [[zone]].";
    if (wanted.size < least || wanted.size > limits::max_zone_size)
        return wanted.size.text() + " are asked for; it may have from " + least.text() + " to " +
               limits::max_zone_size.text() + ".";
    return {};
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
    std::erase_if(joined, [&](const ZoneRequest& wanted) {
        const std::string why = objection(wanted);
        if (!why.empty()) obstacles.push_back("zone " + wanted.name + ": " + why);
        return !why.empty();
    });
    for (ZoneRequest& wanted : joined)
        if (wanted.tag.empty()) wanted.tag = pool_tag;
    return joined;
}

bool sound(shm::Zone& zone, const ZoneRequest& request) {
    if (request.content == Content::pool) return !shm::Pool::unusable(zone);
    return zone.sound() && (!request.sound || request.sound(zone));
}

bool fits(shm::Zone& zone, const ZoneRequest& request) {
    return zone.name() == request.name && zone.tag() == request.tag &&
           zone.size() == request.size && sound(zone, request);
}

}  // namespace ringfort::cycle
