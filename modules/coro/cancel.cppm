export module ringfort.coro:cancel;

import :list;

export namespace ringfort::coro {

/// What is to be done when a CancelSource is triggered: the base of everything that can be
/// cancelled. Fires at most once. The action must not resume a coroutine directly and must not
/// throw.
class CancelHook : public ListNode<CancelHook> {
public:
    using Action = void (*)(CancelHook&) noexcept;
    inline explicit CancelHook(Action action) noexcept : action_{action} {}

private:
    friend class CancelSource;
    Action action_;
};

/// Asks the operations below it to stop. Sources form a tree: cancelling one cancels its
/// descendants. Cancelling is a request: the operation ends in its own time, and may still have
/// succeeded.
class CancelSource : private CancelHook {
public:
    /// Makes a root, or a child that is cancelled together with `parent`, which must outlive it.
    explicit CancelSource(CancelSource* parent = nullptr) noexcept;

    /// Nobody may wait below it any more. Forgets the hooks that were only kept.
    inline ~CancelSource() {
        while (kept_.pop_front() != nullptr) {
        }
    }

    /// Tells whether cancelling was asked for.
    [[nodiscard]] inline bool requested() const noexcept { return requested_; }
    /// Fires every hook, oldest first. A second call does nothing.
    void request() noexcept;
    /// Registers `hook`, which fires at once when cancelling was requested before.
    void attach(CancelHook& hook) noexcept;
    /// Registers a hook that stays from one wait to the next, and acts on those that it finds. Not
    /// to be called once cancelling was requested.
    inline void keep(CancelHook& hook) noexcept { kept_.push_back(hook); }

private:
    bool requested_ = false;
    List<CancelHook> hooks_;
    List<CancelHook> kept_;
};

}  // namespace ringfort::coro
