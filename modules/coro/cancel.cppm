export module ringfort.coro:cancel;

import ringfort.std;
import :list;

export namespace ringfort::coro {

/// Whether a hook is attached only while there is something to cancel, or also in between.
enum class Attached : std::uint8_t { while_waiting, lastingly };

/// What is to be done when a CancelSource is triggered: the base of everything that can be
/// cancelled. Fires at most once each time it is attached. The action must not resume a coroutine
/// directly and must not throw. That of a hook which is attached lastingly is also called when the
/// source ends without having been triggered: it has to abort if something waits.
class CancelHook : public ListNode<CancelHook> {
public:
    using Action = void (*)(CancelHook&) noexcept;
    inline explicit CancelHook(Action action, Attached attached = Attached::while_waiting) noexcept
        : action_{action}, attached_{attached} {}

private:
    friend class CancelSource;
    Action action_;
    Attached attached_;
};

/// Asks the operations below it to stop. Sources form a tree: cancelling one cancels its
/// descendants. Cancelling is a request: the operation ends in its own time, and may still have
/// succeeded.
class CancelSource : private CancelHook {
public:
    /// Makes a root, or a child that is cancelled together with `parent`, which must outlive it.
    explicit CancelSource(CancelSource* parent = nullptr) noexcept;
    /// Aborts when there is something below it that it would have to cancel.
    inline ~CancelSource() {
        if (!hooks_.empty()) leave_hooks();
    }

    /// Tells whether cancelling was asked for.
    [[nodiscard]] inline bool requested() const noexcept { return requested_; }
    /// Fires every hook, oldest first. A second call does nothing.
    void request() noexcept;
    /// Registers `hook`, which fires at once when cancelling was requested before.
    inline void attach(CancelHook& hook) noexcept {
        if (requested_)
            hook.action_(hook);
        else
            hooks_.push_back(hook);
    }

private:
    void leave_hooks() noexcept;

    bool requested_ = false;
    List<CancelHook> hooks_;
};

}  // namespace ringfort::coro
