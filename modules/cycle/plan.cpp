module;
#include <ringfort/try.h>

#include <algorithm>
#include <compare>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
module ringfort.cycle;

import ringfort.base;
import ringfort.shm;

namespace ringfort::cycle {
namespace {

/// Finds the zone that the request goes on from: the one that it may go on as, else one of its
/// purpose, else any of its name.
SharedZone find_before(const ZoneRequest& request, const std::vector<SharedZone>& stocked) {
    SharedZone found;
    for (const SharedZone& zone : stocked) {
        if (zone->name() != request.name) continue;
        if (fits(*zone, request)) return zone;
        if (!found || (zone->tag() == request.tag && found->tag() != request.tag)) found = zone;
    }
    return found;
}

std::string change(const shm::Zone& before, const ZoneRequest& request) {
    return before.size().text() + " -> " + request.size.text();
}

/// Says why what is in the zone before is not gone on with; empty: it can be.
std::string objection(const ZoneRequest& request, shm::Zone& before, bool readable) {
    if (!request.reuse) return "it is not to be reused";
    if (!before.sound()) return "what is in it is corrupted";
    if (before.tag() != request.tag) return "it was used for " + before.tag();
    if (request.content == Content::custom && !sound(before, request))
        return "what is in it is corrupted";
    if (request.content == Content::custom)
        return before.size() == request.size ? "" : "its size changes, " + change(before, request);
    if (const auto content = shm::Pool::content(before); !content)
        return content.error().is(std::errc::protocol_error) ? "another version has laid it out"
                                                             : "what is in it is corrupted";
    if (before.size() > request.size) return "it becomes smaller, " + change(before, request);
    return before.size() < request.size && !readable ? "it cannot be read here" : "";
}

/// Opens the pool before, if it is to be read.
Result<std::optional<shm::Pool>> open_before(const ZoneRequest& request, const ZonePlan& plan,
                                             const OpenPool& open) {
    const bool wanted = plan.fate.fate == Fate::grown || request.prepare;
    if (!wanted || !plan.before || !open || plan.before->tag() != request.tag ||
        shm::Pool::unusable(*plan.before))
        return std::optional<shm::Pool>{};
    RF_LET(const shm::Pool opened, open(*plan.before));
    return std::optional{opened};
}

}  // namespace

ZonePlan plan_zone(const ZoneRequest& request, const std::vector<SharedZone>& stocked,
                   const GrowOptions& options) {
    ZonePlan plan{.fate = {.name = request.name},
                  .before = find_before(request, stocked),
                  .most = options.most};
    const auto decide = [&plan](Fate fate, std::string text) {
        plan.fate.fate = fate;
        plan.fate.text = std::move(text);
        return plan;
    };
    if (!plan.before)
        return decide(Fate::opened,
                      request.prepare ? "opened, filled by its service" : "opened, empty");
    shm::Zone& before = *plan.before;
    if (const std::string why = objection(request, before, options.readable); !why.empty())
        return decide(Fate::replaced, (request.prepare ? "replaced by one that its service fills: "
                                                       : "replaced by an empty one: ") +
                                          why);
    if (before.size() == request.size) return decide(Fate::kept, "kept");
    if (shm::Pool::content(before).value_or(Bytes{0}) > plan.most) plan.obstacle = too_full(plan);
    return decide(Fate::grown, "grown, " + change(before, request));
}

Result<SharedZone> make_zone(const ZoneRequest& request, const ZonePlan& plan,
                             const OpenPool& open) {
    RF_LET(shm::Zone zone, shm::Zone::create(request.name, request.tag, request.size));
    if (request.content == Content::custom) {
        if (request.format) RF_TRY(request.format(zone));
        return std::make_shared<shm::Zone>(std::move(zone));
    }
    RF_LET(const std::optional<shm::Pool> before, open_before(request, plan, open));
    const bool grows = before && plan.fate.fate == Fate::grown;
    RF_LET(const shm::Pool made, grows ? shm::Pool::grow(*before, zone, plan.most)
                                       : shm::Pool::format(zone, limits::max_counter_rows));
    if (request.prepare) RF_TRY(request.prepare(made, before ? &*before : nullptr));
    return std::make_shared<shm::Zone>(std::move(zone));
}

std::string too_full(const ZonePlan& plan) {
    return "zone " + plan.fate.name + ": more than " + plan.most.text() +
           " are in use, and no more is copied into a larger one: nobody could change anything "
           "meanwhile. Leave its size at " +
           plan.before->size().text() + ", or give the larger one another name: it begins empty.";
}

}  // namespace ringfort::cycle
