module;
#include <sys/socket.h>

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>
export module ringfort.uring:sender;

import ringfort.base;
import ringfort.coro;
import :buffers;
import :multishot;
import :request;

export namespace ringfort::uring {

class Loop;
class PostOperation;
class Sender;
class Senders;

/// What is to be done when a posted send fails, by whom is told of it only at the next one: the
/// base of what has to know at once. Called from the loop; the action resumes nothing.
class SendFailureHook {
public:
    using Action = void (*)(SendFailureHook&, const Error&) noexcept;
    inline explicit SendFailureHook(Action action) noexcept : action_{action} {}

private:
    friend class Sender;
    Action action_;
};

/// The place in a socket for its Sender: none when nothing is on its way.
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

    /// Returns the sender of `socket`, with nothing on its way unless it was there already.
    [[nodiscard]] inline Sender& get(Senders& senders, RawFd socket);
    /// Sends what the socket takes at once, for the last time, and drops the rest.
    inline void drop() noexcept;
    /// Counts the bytes that were not sent, or of which the kernel has not said so yet.
    [[nodiscard]] inline std::size_t pending() const noexcept;
    /// Tells whether something is still to be sent.
    [[nodiscard]] inline bool sends() const noexcept;

private:
    friend class Sender;
    inline void take(SenderSlot& other) noexcept;

    Sender* sender_ = nullptr;
    SendFailureHook* hook_ = nullptr;
};

/// What has to hold before a task that posts goes on.
enum class PostUntil : std::uint8_t { room, sent };

/// Received pieces on their way out of a socket, oldest first: sent while the task that posted them
/// does something else. A socket has one while there are some, or a failure to be told.
///
/// What is posted in one turn of the loop goes with one request at the end of the turn. It asks for
/// what the socket takes at once, all of it (MSG_DONTWAIT, MSG_WAITALL), and for no answer if that
/// is so (IOSQE_CQE_SKIP_SUCCESS): then it is carried out while it is submitted, and no answer
/// after the turn means that all has gone. So it does not end the loop's wait and costs no
/// completion. One that went in part is answered, and asks for the rest with a request that waits.
/// Lent by the loop's Senders, where it is again, at the latest, when the kernel has answered to
/// one that was abandoned.
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
    void submit_request() noexcept;
    void complete(int result, std::uint32_t flags) noexcept;
    void gone() noexcept;
    void advance(std::size_t sent) noexcept;
    void abandon() noexcept;
    void give_back() noexcept;
    /// Leaves the socket when there is nothing for it to do.
    inline void rest() noexcept {
        if (count_ > 0 || error_ != 0) return;
        slot_->sender_ = nullptr;
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
    Request request_;                        ///< but of a quiet one of one piece that found room
    std::array<iovec, most_pieces> window_;  ///< of a request of more than one piece
    msghdr message_;
};

/// The senders of a loop: those that no socket has, because a busy server takes one for every
/// answer, and those with something to ask the kernel for at the end of the turn.
class Senders {
public:
    inline Senders(Loop& loop, coro::Scheduler& scheduler) noexcept
        : loop_{loop}, scheduler_{scheduler} {}
    Senders(Senders&&) = delete;

    /// Submits what was posted in this turn.
    void submit() noexcept;
    /// Tells whether something was submitted that is not answered if it goes well.
    [[nodiscard]] inline bool submitted() const noexcept { return quiet_.count > 0; }
    /// Takes note that all that was submitted and not answered has gone.
    void settle() noexcept;

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

    Loop& loop_;
    coro::Scheduler& scheduler_;
    std::vector<std::unique_ptr<Sender>> all_;
    List free_;    ///< the last one used is the next
    List posted_;  ///< have something to ask for at the end of the turn
    List quiet_;   ///< submitted, answered only if something is wrong
};

/// Awaits that a socket's Sender takes a piece, or that it has sent all it was given.
///
/// Does not suspend where there is room, so that a task goes on to receive while the kernel sends.
/// Cancelling and the time limit end the waiting alone: then the piece was not taken and is gone,
/// and what was taken before is still sent. Errors: those of send(2), of this piece or of an
/// earlier one; ECANCELED; ETIMEDOUT.
class PostOperation : public MultishotWait {
public:
    /// Posts `piece`, unless it is empty.
    inline PostOperation(Sender& sender, Lease&& piece, PostUntil until,
                         std::optional<Milliseconds> limit) noexcept
        : MultishotWait{sender, limit}, piece_{std::move(piece)}, until_{until} {}

    /// Tells whether it need not wait; a task that never has to is made to, now and then.
    [[nodiscard]] inline bool await_ready() const noexcept {
        return sender().holds(until_) && sender().home_.scheduler_.spend();
    }
    template <coro::TaskPromise P>
    inline bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] inline Result<void> await_resume() noexcept {
        if (interrupted() || sender().error_ != 0) [[unlikely]]
            return failure();
        if (!piece_.empty()) [[likely]]
            sender().push(std::move(piece_));
        else
            leave();
        return {};
    }

private:
    friend class Sender;

    [[nodiscard]] inline Sender& sender() const noexcept { return static_cast<Sender&>(request()); }
    inline void leave() noexcept {
        Sender& left = sender();
        give_up_claim();
        left.rest();
    }
    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    [[nodiscard]] Error failure() const noexcept;

    Lease piece_;
    PostUntil until_;
};

/// See the declaration.
inline Sender& SenderSlot::get(Senders& senders, RawFd socket) {
    if (sender_ == nullptr) sender_ = &senders.take(*this, socket);
    return *sender_;
}

/// See the declaration.
inline void SenderSlot::drop() noexcept {
    if (sender_ != nullptr) std::exchange(sender_, nullptr)->abandon();
}

/// See the declaration.
inline std::size_t SenderSlot::pending() const noexcept {
    return sender_ == nullptr ? 0 : sender_->bytes_;
}

/// See the declaration.
inline bool SenderSlot::sends() const noexcept {
    return sender_ != nullptr && sender_->count_ > 0;
}

/// See the declaration.
inline void SenderSlot::take(SenderSlot& other) noexcept {
    sender_ = std::exchange(other.sender_, nullptr);
    hook_ = std::exchange(other.hook_, nullptr);
    if (sender_ != nullptr) sender_->slot_ = this;
}

/// See the declaration.
inline void Sender::push(Lease&& piece) noexcept {
    bytes_ += piece.size();
    this->piece(count_++).fill(piece);
    if (!armed() && in_turn_ == InTurn::no) home_.enlist(*this, InTurn::posted);
}

}  // namespace ringfort::uring
