module;
#include <sys/socket.h>
export module ringfort.uring:sender;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :buffers;
import :multishot;
import :request;

export namespace ringfort::uring {

class Loop;
class PostOperation;
class Sender;
class Senders;
struct QuickSend;

/// What is to be done when a posted send fails, by whom is told of it only at the next one: the
/// base of what has to know at once. Called from the loop or from within a post; the action resumes
/// nothing and leaves the socket alone.
class SendFailureHook {
public:
    using Action = void (*)(SendFailureHook&, const Error&) noexcept;
    inline explicit SendFailureHook(Action action) noexcept : action_{action} {}

private:
    friend class Sender;
    Action action_;
};

/// The place in a socket for what is on its way: nothing, a QuickSend or a Sender.
class SenderSlot {
public:
    /// Has `hook` told of the next failure, or nobody; it must live as long as it is set.
    inline void tell(SendFailureHook* hook) noexcept { hook_ = hook; }
    SenderSlot() noexcept = default;
    inline SenderSlot(SenderSlot&& other) noexcept { take(other); }
    inline SenderSlot& operator=(SenderSlot&& other) noexcept {
        drop();
        take(other);
        return *this;
    }
    inline ~SenderSlot() { drop(); }

    /// Tells whether there is nothing on its way, nor a failure to be told.
    [[nodiscard]] inline bool empty() const noexcept { return word_ == 0; }
    /// Returns the sender of `socket`, with what was on its way already.
    [[nodiscard]] Sender& get(Senders& senders, RawFd socket);
    /// Sends what the socket takes at once, for the last time, and drops the rest.
    inline void drop() noexcept;
    /// Counts the bytes that were not sent, or of which the kernel has not said so yet.
    [[nodiscard]] inline std::size_t pending() const noexcept;
    /// Tells whether something is still to be sent.
    [[nodiscard]] inline bool sends() const noexcept;

private:
    friend class Sender;
    friend class Senders;
    static constexpr std::uintptr_t quick_bit = 1;

    inline void take(SenderSlot& other) noexcept;
    void abandon() noexcept;
    [[nodiscard]] inline QuickSend* quick_send() const noexcept {
        if ((word_ & quick_bit) == 0) return nullptr;
        return reinterpret_cast<QuickSend*>(word_ & ~quick_bit);
    }
    /// Returns the sender, where there is no quick send.
    [[nodiscard]] inline Sender* sender() const noexcept {
        return reinterpret_cast<Sender*>(word_);
    }
    inline void set(QuickSend& send) noexcept {
        word_ = reinterpret_cast<std::uintptr_t>(&send) | quick_bit;
    }
    inline void set(Sender& sender) noexcept { word_ = reinterpret_cast<std::uintptr_t>(&sender); }
    inline void clear() noexcept { word_ = 0; }

    std::uintptr_t word_ = 0;  ///< the address of either, of a quick send with its bit
    SendFailureHook* hook_ = nullptr;
};

/// A piece that was posted to a socket that had nothing on its way, as almost all are: it goes with
/// a request like a Sender's first one, but without a Sender, which would be taken, filled and
/// emptied for each. Where more is asked of the socket before it has gone, or it has not gone
/// whole, a Sender takes it over. Of many in a turn some are answered although they go well
/// (limits::answered_sends), so that the turn's wait can be for more than one completion.
struct QuickSend {
    Senders* home = nullptr;
    SenderSlot* slot = nullptr;  ///< whose it is; nullptr: taken over, or gone and to be settled
    Sender* heir = nullptr;      ///< who has taken it over when the kernel had it already
    RawFd socket = -1;
    Lease piece = {};
};

/// What has to hold before a task that posts goes on.
enum class PostUntil : std::uint8_t { room, sent };

/// Received pieces on their way out of a socket, oldest first: sent while the task that posted them
/// does something else. A socket has one while there are some, or a failure to be told.
///
/// What is posted in one turn of the loop goes with one request at the end of the turn (see
/// Senders::post_directly for what does not). It asks for what the socket takes at once, all of it
/// (MSG_DONTWAIT, MSG_WAITALL), and for no answer if that is so (IOSQE_CQE_SKIP_SUCCESS): then it
/// is carried out while it is submitted, and no answer after the turn means that all has gone. So
/// it does not end the loop's wait and costs no completion. One that went in part is answered, and
/// asks for the rest with a request that waits. Lent by the loop's Senders, where it is again, at
/// the latest, when the kernel has answered to one that was abandoned.
class Sender : private Multishot {
public:
    /// Makes one that no socket has.
    Sender(Loop& loop, Senders& home) noexcept;

private:
    friend class Loop;
    friend class Multishot;
    friend class PostOperation;
    friend class Senders;
    friend class SenderSlot;
    static constexpr std::uint32_t most_pieces = 8;
    enum class InTurn : std::uint8_t { no, posted, quiet };  ///< which list of Senders it is in

    [[nodiscard]] inline bool holds(PostUntil until) const noexcept {
        if (error_ != 0) return true;
        if (until == PostUntil::sent) return count_ == 0;
        return count_ < most_pieces && bytes_ < limits::send_behind.count;
    }
    inline void push(Lease&& piece) noexcept;
    void submit() noexcept;
    void complete(int result, std::uint32_t flags) noexcept;
    void advance(std::size_t sent) noexcept;
    void abandon() noexcept;
    void give_back() noexcept;
    /// Leaves the socket when there is nothing for it to do.
    inline void rest() noexcept {
        if (count_ > 0 || error_ != 0) return;
        slot_->clear();
        give_back();
    }
    void drop_pieces() noexcept;
    [[nodiscard]] inline Lease& piece(std::uint32_t index) noexcept {
        return pieces_[(first_ + index) % most_pieces];
    }

    Senders& home_;
    SenderSlot* slot_ = nullptr;  ///< nullptr once abandoned
    RawFd socket_ = -1;
    std::uint32_t place_ = 0;  ///< in the list of Senders that it is in
    InTurn in_turn_ = InTurn::no;
    bool blocked_ = false;  ///< the socket has not taken all it was given at once
    int error_ = 0;         ///< of a send that failed: nothing more is sent
    std::uint32_t first_ = 0;
    std::uint32_t count_ = 0;
    std::size_t bytes_ = 0;
    std::size_t asked_ = 0;  ///< bytes of the request
    std::array<Lease, most_pieces> pieces_;
    Request request_;
    std::array<iovec, most_pieces> window_;  ///< of a request of more than one piece
    msghdr message_;
};

/// The senders of a loop: quick sends, and for the rest those that no socket has and those with
/// something to ask the kernel for at the end of the turn.
class Senders {
public:
    Senders(Loop& loop, coro::Scheduler& scheduler);
    Senders(Senders&&) = delete;

    /// Submits what was posted in this turn.
    void submit() noexcept;
    /// Has large pieces (`limits::direct_transfer`) be sent while they are posted, if nothing else
    /// of the socket is on its way, or no more.
    inline void post_directly(bool on) noexcept { directly_ = on; }
    /// Tells whether something was submitted of which it is not known whether it has gone.
    [[nodiscard]] inline bool submitted() const noexcept { return quiet_.count + quick_sent_ > 0; }
    /// Counts the answers to what was submitted last that come while it is handed over.
    [[nodiscard]] inline std::uint32_t answers() const noexcept { return quick_answers_; }
    /// Gives back what has gone; if `all_told`, that is all that has not been answered. After the
    /// answers have been taken: what the kernel has used of the buffers is counted by then.
    void settle(bool all_told) noexcept;
    /// Takes the answer to a quick send, if it tells that all has gone; returns whether it does.
    [[nodiscard]] inline bool take_success(QuickSend& send, int result) noexcept;
    /// Returns whose another answer to a quick send is.
    [[nodiscard]] Sender& answered(QuickSend& send) noexcept;

private:
    friend class PostOperation;
    friend class Sender;
    friend class SenderSlot;
    /// Some of the senders, with room for all.
    struct List {
        std::vector<Sender*> members;
        std::uint32_t count = 0;

        inline void push(Sender& sender) noexcept { members[count++] = &sender; }
        [[nodiscard]] inline Sender& pop() noexcept { return *members[--count]; }
    };

    [[nodiscard]] inline Sender& take(SenderSlot& slot, RawFd socket) {
        if (free_.count == 0) [[unlikely]]
            make_one();
        Sender& sender = free_.pop();
        sender.slot_ = &slot;
        sender.socket_ = socket;
        return sender;
    }
    void make_one();
    inline void enlist(Sender& sender, Sender::InTurn list) noexcept {
        ensure(sender.in_turn_ == Sender::InTurn::no, "a sender was put into a second list");
        List& members = list == Sender::InTurn::posted ? posted_ : quiet_;
        sender.in_turn_ = list;
        sender.place_ = members.count;
        members.push(sender);
    }
    void remove(Sender& sender) noexcept;
    /// Tells whether a piece can be posted as a quick send: not while the kernel may still answer
    /// to those of an earlier turn.
    [[nodiscard]] inline bool takes_quick_sends() const noexcept {
        return quick_count_ < quick_limit_;
    }
    inline void post(SenderSlot& slot, RawFd socket, Lease& piece) noexcept {
        QuickSend& send = quick_sends_[quick_count_++];
        send.slot = &slot;
        send.socket = socket;
        send.piece.fill(piece);
        slot.set(send);
    }
    /// Sends a large piece now, for a socket that has nothing on its way; what the socket does not
    /// take waits for room with a request.
    [[clang::preserve_most]] void send_directly(SenderSlot& slot, RawFd socket,
                                                Lease& piece) noexcept;
    [[nodiscard]] inline std::span<QuickSend> quick_sends() const noexcept {
        return {quick_sends_.get(), quick_count_};
    }
    Sender& take_over(QuickSend& send);
    void submit_quick_sends() noexcept;
    void settle_senders() noexcept;
    void settle_quick_sends(bool all_told) noexcept;
    inline void forget_quick_sends() noexcept {
        quick_count_ = quick_sent_ = 0;
        quick_limit_ = limits::quick_sends;
    }

    Loop& loop_;
    coro::Scheduler& scheduler_;
    std::unique_ptr<QuickSend[]> quick_sends_;
    std::uint32_t quick_count_ = 0;  ///< posted in this turn, or submitted and not settled
    std::uint32_t quick_limit_ = limits::quick_sends;
    std::uint32_t quick_sent_ = 0;     ///< of which it is not known whether they have gone
    std::uint32_t quick_answers_ = 0;  ///< of those submitted last: are answered in any case
    std::vector<std::unique_ptr<Sender>> all_;
    List free_;    ///< the last one used is the next
    List posted_;  ///< have something to ask for at the end of the turn
    List quiet_;   ///< submitted, answered only if something is wrong
    bool directly_ = false;
};

/// See the declaration.
inline void SenderSlot::drop() noexcept {
    if (!empty()) abandon();
}

/// See the declaration.
inline std::size_t SenderSlot::pending() const noexcept {
    if (const QuickSend* const send = quick_send()) return send->piece.size();
    return empty() ? 0 : sender()->bytes_;
}

/// See the declaration.
inline bool SenderSlot::sends() const noexcept {
    return quick_send() != nullptr || (!empty() && sender()->count_ > 0);
}

/// See the declaration.
inline bool Senders::take_success(QuickSend& send, int result) noexcept {
    if (send.slot == nullptr || result != static_cast<int>(send.piece.size())) [[unlikely]]
        return false;
    std::exchange(send.slot, nullptr)->clear();
    --quick_sent_;
    return true;
}

/// See the declaration.
inline void SenderSlot::take(SenderSlot& other) noexcept {
    word_ = std::exchange(other.word_, 0);
    hook_ = std::exchange(other.hook_, nullptr);
    if (QuickSend* const send = quick_send())
        send->slot = this;
    else if (!empty())
        sender()->slot_ = this;
}

/// See the declaration.
inline void Sender::push(Lease&& piece) noexcept {
    bytes_ += piece.size();
    this->piece(count_++).fill(piece);
    if (!armed() && in_turn_ == InTurn::no) home_.enlist(*this, InTurn::posted);
}

}  // namespace ringfort::uring
