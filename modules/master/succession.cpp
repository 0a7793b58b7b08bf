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
    if (closing() || busy() || has_successor() || current == nullptr) {
        actions_.push_back(action::RefuseUpgrade{});
        return;
    }
    upgrade_ = Upgrade::starting;
    upgrade_deadline_ = time_ + current->timing.upgrade_timeout;
    drain_timeout_ = current->timing.drain_timeout;
    kill_timeout_ = current->timing.kill_timeout;
    actions_.push_back(action::StartSuccessor{});
}

void Policy::on(const event::SuccessorReady&) {
    if (upgrade_ != Upgrade::starting) return;  // too late: it is being ended
    upgrade_ = Upgrade::leaving;
    upgrade_deadline_ = time_ + kill_timeout_;
    actions_.push_back(action::HandOver{});
}

void Policy::on(const event::SuccessorTookOver&) {
    if (upgrade_ != Upgrade::leaving) return;
    upgrade_ = Upgrade::done;
    upgrade_deadline_.reset();
    stop(Stopping::draining);
}

void Policy::on(const event::TakenOver&) {
    taking_over_ = false;
    next_reload();
}

void Policy::on(const event::SuccessorGivesUp&) {
    if (upgrade_ != Upgrade::starting && upgrade_ != Upgrade::ending) return;
    upgrade_ = Upgrade::failed;
    upgrade_deadline_ = time_ + (closing() ? kill_timeout_ : drain_timeout_ + kill_timeout_);
    actions_.push_back(action::FailUpgrade{});
    next_reload();
}

void Policy::on(const event::SuccessorExited&) {
    if (!has_successor()) return;
    upgrade_deadline_.reset();
    if (upgrading()) actions_.push_back(action::FailUpgrade{});
    upgrade_ = Upgrade::no;
    if (!closing()) next_reload();
}

/// Ends a successor that does not serve; its exit is reported.
void Policy::end_successor() {
    const bool lingers = upgrade_ == Upgrade::failed && upgrade_deadline_;
    if (upgrade_ != Upgrade::starting && !lingers) return;
    if (upgrade_ == Upgrade::starting) upgrade_ = Upgrade::ending;
    upgrade_deadline_ = time_ + kill_timeout_;
    actions_.push_back(action::EndSuccessor{});
}

}  // namespace ringfort::master
