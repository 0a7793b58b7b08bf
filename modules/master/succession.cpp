module;
#include <chrono>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>
module ringfort.master;

import ringfort.base;

// The part of the policy that is about another master, which is to go on in this one's place.
namespace ringfort::master {

void Policy::on(const event::Upgrade&) {
    const Generation* current = in_phase(Phase::current);
    if (stopping() || busy() || current == nullptr) {
        actions_.push_back(action::RefuseUpgrade{});
        return;
    }
    upgrade_ = Upgrade::starting;
    upgrade_deadline_ = time_ + current->timing.upgrade_timeout;
    kill_timeout_ = current->timing.kill_timeout;
    actions_.push_back(action::StartSuccessor{});
}

void Policy::on(const event::SuccessorReady&) {
    if (upgrade_ != Upgrade::starting) return;  // too late: it is being ended
    upgrade_ = Upgrade::done;
    upgrade_deadline_.reset();
    stop(Stopping::draining);
}

void Policy::on(const event::SuccessorExited&) {
    if (!upgrading()) return;
    upgrade_ = Upgrade::no;
    upgrade_deadline_.reset();
    actions_.push_back(action::FailUpgrade{});
    if (!stopping()) next_reload();
}

/// Ends a successor that is not ready; its exit is reported.
void Policy::end_successor() {
    if (upgrade_ != Upgrade::starting) return;
    upgrade_ = Upgrade::ending;
    upgrade_deadline_ = time_ + kill_timeout_;
    actions_.push_back(action::EndSuccessor{});
}

}  // namespace ringfort::master
