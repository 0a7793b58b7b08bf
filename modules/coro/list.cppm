export module ringfort.coro:list;

import ringfort.base;

export namespace ringfort::coro {

template <class T>
class List;

/// Makes T a member of at most one List<T> at a time. T derives from it; unlinks itself when
/// destroyed.
template <class T>
class ListNode {
public:
    ListNode() noexcept = default;
    ListNode(ListNode&&) = delete;
    ~ListNode() { unlink(); }

    /// Tells whether it is in a list.
    [[nodiscard]] bool linked() const noexcept { return next_ != this; }
    /// Leaves its list; does nothing outside one.
    void unlink() noexcept {
        previous_->next_ = next_;
        next_->previous_ = previous_;
        previous_ = next_ = this;
    }

private:
    friend class List<T>;
    ListNode* previous_ = this;
    ListNode* next_ = this;
};

/// A doubly linked list of objects that somebody else owns: no allocation, removal in O(1).
template <class T>
class List {
public:
    List() noexcept = default;
    List(List&&) = delete;
    ~List() { ensure(empty(), "a list was destroyed with members"); }

    /// Tells whether the list has no member.
    [[nodiscard]] bool empty() const noexcept { return !head_.linked(); }
    /// Appends. Aborts when `item` is in a list already.
    void push_back(T& item) noexcept {
        ListNode<T>& node = item;
        ensure(!node.linked(), "linked into a second list");
        node.previous_ = head_.previous_;
        node.next_ = &head_;
        head_.previous_->next_ = &node;
        head_.previous_ = &node;
    }
    /// Returns the oldest member; nullptr when empty.
    [[nodiscard]] T* front() const noexcept {
        return empty() ? nullptr : static_cast<T*>(head_.next_);
    }
    /// Removes and returns the oldest member; nullptr when empty.
    T* pop_front() noexcept {
        if (empty()) return nullptr;
        ListNode<T>* node = head_.next_;
        node->unlink();
        return static_cast<T*>(node);
    }

private:
    ListNode<T> head_;
};

}  // namespace ringfort::coro
