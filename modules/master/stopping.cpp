module;
#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;

// The part of the policy that is about this master's own end.
namespace ringfort::master {

void Policy::on(const event::Drain&) {
    if (!announce()) stop(stopping() ? Stopping::terminating : Stopping::draining);
}

void Policy::on(const event::Terminate&) {
    stop(Stopping::terminating);
}

/// Has who asks for readiness told that there is none, while the workers serve on for as long as it
/// takes that to go round: connections that come meanwhile are not refused. Returns whether that is
/// to be waited for. It is not where another master serves beside this one: those who come are its.
bool Policy::announce() {
    const Generation* current = in_phase(Phase::current);
    const bool alone = upgrade_ != Upgrade::leaving && !taking_over_;
    if (closing() || current == nullptr || !alone) return false;
    const Milliseconds delay = current->timing.shutdown_delay;
    if (delay == Milliseconds{0}) return false;
    call_off(Stopping::draining);
    drain_at_ = time_ + delay;
    actions_.push_back(action::AnnounceStop{});
    return true;
}

/// Gives up what has been begun: a build, an upgrade, a generation that starts.
void Policy::call_off(Stopping how) {
    if (building_) actions_.push_back(action::AbortBuild{});
    reload_again_ = false;
    end_successor();
    if (Generation* starting = in_phase(Phase::starting)) {
        actions_.push_back(action::Abandon{starting->number, Obstacle::stopping});
        starting->phase = Phase::leaving;
        how == Stopping::terminating ? terminate(*starting) : drain(*starting);
    }
}

void Policy::stop(Stopping how) {
    if (how <= stopping_) return;
    if (!closing()) call_off(how);
    stopping_ = how;
    drain_at_.reset();
    for (Generation& generation : generations_) {
        if (how == Stopping::terminating) {
            generation.phase = Phase::leaving;
            terminate(generation);
        } else if (generation.phase == Phase::current) {
            generation.phase = Phase::leaving;
            drain(generation);
        }
    }
}

}  // namespace ringfort::master
