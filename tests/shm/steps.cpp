#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "steps.hpp"

namespace steps {
namespace {

using namespace ringfort;
using namespace ringfort::shm;

constexpr std::uint32_t rows = 3;

std::uint64_t killed = 0;

void copy(const Zone& from, Zone& to) {
    std::memcpy(to.payload().data(), from.payload().data(), from.payload().size());
}

Zone like(const Zone& zone) {
    return Zone::create(zone.name(), zone.tag(), zone.size()).value();
}

// What happens at every store, while somebody watches.
class Watch {
public:
    Watch(Zone& zone, const Kills& kills, const Picture& picture, std::vector<std::string> right)
        : zone_{zone},
          copy_{like(zone)},
          nested_copy_{like(zone)},
          kills_{kills},
          picture_{picture},
          right_{std::move(right)} {
        current = this;
        set_step_hook([] { current->step(); });
    }
    ~Watch() { set_step_hook(nullptr); }

private:
    void step() {
        switch (depth_) {
            case 0: {
                depth_ = 1;
                copy(zone_, copy_);
                recovering_ = kills_.nested != 0 && killed % kills_.nested == 0;
                examine(copy_, seen_);
                depth_ = 0;
                return;
            }
            case 1: {
                if (!recovering_) return;
                depth_ = 2;
                copy(copy_, nested_copy_);
                std::size_t seen = seen_;
                examine(nested_copy_, seen);
                depth_ = 1;
                return;
            }
            default:
                return;
        }
    }

    // `seen`: how far it has come, from which it must not go back.
    void examine(Zone& zone, std::size_t& seen) {
        ++killed;
        Pool keeper = Pool::keep(zone).value();
        // The one who was killed in the middle of a recovery as well.
        for (const std::uint32_t row : {0U, 1U}) {
            if (kills_.by_waiter)
                keeper.owners().bury(row);
            else
                static_cast<void>(keeper.bury(row).value());
        }
        Pool witness = keeper;
        if (kills_.by_waiter) witness = Pool::attach(zone, keeper.admit(1, {}).value()).value();
        if (kills_.by_waiter) witness.begin().value().commit().value();
        const bool recovering = std::exchange(recovering_, false);
        if (auto sound = witness.check(); !sound) FAIL("kill " << killed << ": books disagree");
        const std::string found = picture_(witness);
        while (seen < right_.size() && right_[seen] != found) ++seen;
        if (seen == right_.size()) {
            std::string expected;
            for (const std::string& each : right_) expected += "or:\n" + each + "\n";
            FAIL("kill " << killed << ": neither before nor after, or back to before:\n"
                         << found << "\n"
                         << expected);
        }
        recovering_ = recovering;
    }

    static Watch* current;

    Zone& zone_;
    Zone copy_;
    Zone nested_copy_;
    const Kills& kills_;
    const Picture& picture_;
    std::vector<std::string> right_;  // before, between, after
    int depth_ = 0;
    bool recovering_ = false;
    std::size_t seen_ = 0;
};

Watch* Watch::current = nullptr;

}  // namespace

Stage::Stage(std::uint32_t pages)
    : zone_{
          Zone::create("stage", "pool/1", Pool::zone_size(rows, Bytes{pages * 4'096ULL})).value()},
      keeper_{Pool::format(zone_, rows).value()},
      worker_{Pool::attach(zone_, keeper_.admit(0, {4, 7}).value()).value()} {}

std::uint32_t effort() {
    const char* text = std::getenv("RINGFORT_SHM_EFFORT");
    return text == nullptr ? 1 : static_cast<std::uint32_t>(std::max(1, std::atoi(text)));
}

std::string kill_everywhere(Stage& stage, const Operation& operation, const Picture& picture,
                            const Kills& kills) {
    // A picture may change what it looks at, so it looks at copies.
    Zone spare = like(stage.zone());
    const auto look = [&](const Zone& zone) {
        copy(zone, spare);
        Pool pool = Pool::attach(spare, stage.pool().self()).value();
        return picture(pool);
    };
    std::vector<std::string> right{look(stage.zone())};
    for (const Operation& detour : kills.between) {
        Zone aside = like(stage.zone());
        copy(stage.zone(), aside);
        Pool pool = Pool::attach(aside, stage.pool().self()).value();
        detour(pool);
        right.push_back(look(aside));
    }
    // A rehearsal shows what will be.
    Zone rehearsal = like(stage.zone());
    copy(stage.zone(), rehearsal);
    Pool other = Pool::attach(rehearsal, stage.pool().self()).value();
    operation(other);
    const std::string after = look(rehearsal);
    right.push_back(after);
    {
        const Watch watch{stage.zone(), kills, picture, right};
        operation(stage.pool());
    }
    REQUIRE(look(stage.zone()) == after);
    stage.pool().check().value();
    return after;
}

}  // namespace steps
