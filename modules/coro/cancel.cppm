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

    /// Tells whether cancelling was asked for.
    [[nodiscard]] inline bool requested() const noexcept { return requested_; }
    /// Fires every hook, oldest first. A second call does nothing.
    void request() noexcept;
    /// Registers `hook`, which fires at once when cancelling was requested before.
    void attach(CancelHook& hook) noexcept;

private:
    bool requested_ = false;
    List<CancelHook> hooks_;
};

}  // namespace ringfort::coro
