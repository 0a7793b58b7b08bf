module ringfort.coro;

import ringfort.base;

namespace ringfort::coro {

CancelSource::CancelSource(CancelSource* parent) noexcept
    : CancelHook{[](CancelHook& self) noexcept { static_cast<CancelSource&>(self).request(); }} {
    if (parent != nullptr) parent->attach(*this);
}

void CancelSource::leave_hooks() noexcept {
    while (CancelHook* hook = hooks_.pop_front()) {
        ensure(hook->attached_ == Attached::lastingly,
               "a source was destroyed with something to cancel below it");
        hook->action_(*hook);
    }
}

void CancelSource::request() noexcept {
    if (requested_) return;
    requested_ = true;
    // A hook is out of the list before it fires: it may destroy its neighbours or itself.
    while (CancelHook* hook = hooks_.pop_front()) hook->action_(*hook);
}

}  // namespace ringfort::coro
