export module ringfort.cycle:plan;

import ringfort.base;
import ringfort.shm;
import ringfort.std;
import :zones;

export namespace ringfort::cycle {

/// What becomes of a zone when a cycle is built.
enum class Fate : std::uint8_t {
    kept,     ///< the one that there is goes on
    opened,   ///< there was none of that name
    grown,    ///< a larger one goes on with what is in the one before
    replaced  ///< one without what is in the one before
};

/// The same of one zone, and for people.
struct ZoneFate {
    std::string name;
    Fate fate = Fate::opened;
    std::string text = {};  ///< "grown, 64KiB -> 128KiB"; with the reason why one is replaced
};

/// What pools may be gone on with.
struct GrowOptions {
    bool readable = true;  ///< false: nobody can open the one before
    Bytes most = limits::max_grown_content;
};

/// What is to be done for a request.
struct ZonePlan {
    ZoneFate fate = {};
    SharedZone before = {};     ///< what is kept, or whose place is taken; may be nullptr
    Bytes most{0};              ///< may be copied out of that
    std::string obstacle = {};  ///< what keeps it from being done; empty: nothing
};

/// Decides what becomes of the requested zone, where `stocked` are the zones that there are. By
/// looking alone: it makes and changes nothing, and waits for no lock.
[[nodiscard]] ZonePlan plan_zone(const ZoneRequest& request, const std::vector<SharedZone>& stocked,
                                 const GrowOptions& options = {});

/// Makes a zone and lays it out, as planned; for one that is kept, see `plan.before`. `open` is
/// asked for the pool before, where that is needed. Errors: those of `shm::Zone::create`,
/// `shm::Pool::format`, `open` and `shm::Pool::grow`, and of `request`'s functions.
[[nodiscard]] Result<SharedZone> make_zone(const ZoneRequest& request, const ZonePlan& plan = {},
                                           const OpenPool& open = {});

/// Says that more is in a pool than may be copied, and what to do.
[[nodiscard]] std::string too_full(const ZonePlan& plan);

}  // namespace ringfort::cycle
