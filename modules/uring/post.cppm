export module ringfort.uring:post;

import ringfort.base;
import ringfort.coro;
import ringfort.std;
import :buffers;
import :multishot;
import :sender;

export namespace ringfort::uring {

/// Awaits that a socket takes a piece to send, or that it has sent all it was given.
///
/// Does not suspend where there is room, so that a task goes on to receive while the kernel sends;
/// a large piece is sent before it does while the loop receives such by calls of their own (see
/// Receiver).
/// Cancelling and the time limit end the waiting alone: then the piece was not taken and is gone,
/// and what was taken before is still sent. Errors: those of send(2), of this piece or of an
/// earlier one; ECANCELED; ETIMEDOUT.
class PostOperation : public MultishotWait {
public:
    /// Posts `piece`, unless it is empty, to `socket`, whose place for what is on its way is
    /// `slot`.
    inline PostOperation(Senders& senders, SenderSlot& slot, RawFd socket, Lease&& piece,
                         PostUntil until, std::optional<Milliseconds> limit) noexcept
        : MultishotWait{nullptr, limit},
          piece_{std::move(piece)},
          senders_{senders},
          slot_{slot},
          socket_{socket},
          until_{until} {}

    /// Tells whether it need not wait; a task that never has to is made to, now and then.
    [[nodiscard]] inline bool await_ready() {
        if (slot_.empty() && until_ == PostUntil::room && senders_.takes_quick_sends()) [[likely]]
            return senders_.scheduler_.spend();
        wait_for(slot_.get(senders_, socket_));
        return sender().holds(until_) && senders_.scheduler_.spend();
    }
    template <coro::TaskPromise P>
    inline bool await_suspend(std::coroutine_handle<P> task) {
        return begin(task, task.promise().context());
    }
    [[nodiscard]] inline Result<void> await_resume() noexcept {
        if (request() != nullptr || interrupted()) [[unlikely]]
            return finish();
        if (senders_.directly_ && piece_.size() >= limits::direct_transfer.count) [[unlikely]]
            senders_.send_directly(slot_, socket_, piece_);
        else if (!piece_.empty()) [[likely]]
            senders_.post(slot_, socket_, piece_);
        return {};
    }

private:
    friend class Sender;

    [[nodiscard]] inline Sender& sender() const noexcept {
        return static_cast<Sender&>(*request());
    }
    bool begin(std::coroutine_handle<> task, const coro::Context& context);
    [[clang::preserve_most]] Result<void> finish() noexcept;
    void leave() noexcept;

    Lease piece_;
    Senders& senders_;
    SenderSlot& slot_;
    RawFd socket_;
    PostUntil until_;
};

}  // namespace ringfort::uring
