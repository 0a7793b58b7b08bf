module;
#include <ringfort/try.h>
#include <compare>
#include <functional>
#include <memory>
#include <string>
#include <utility>
module ringfort.cycle;

import ringfort.base;
import ringfort.shm;

namespace ringfort::cycle {

Result<SharedZone> make_zone(const ZoneRequest& request) {
    RF_LET(shm::Zone zone, shm::Zone::create(request.name, request.tag, request.size));
    if (request.format) RF_TRY(request.format(zone));
    return std::make_shared<shm::Zone>(std::move(zone));
}

bool fits(const shm::Zone& zone, const ZoneRequest& request) {
    return zone.name() == request.name && zone.tag() == request.tag && zone.size() == request.size;
}

}  // namespace ringfort::cycle
