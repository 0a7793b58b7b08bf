module;
#include <coroutine>
#include <utility>
module ringfort.uring;

import ringfort.base;
import ringfort.coro;

namespace ringfort::uring {

bool PostOperation::begin(std::coroutine_handle<> task, const coro::Context& context) {
    if (context.cancelled()) return refuse();
    if (request() == nullptr) wait_for(slot_.get(senders_, socket_));
    ensure(!sender().claimed(), "two tasks send to one stream");
    (void)wait(task, context);
    if (sender().holds(until_)) sender().wake();  // it has had its share of what is ready at once
    return true;
}

/// Ends what has needed a Sender, or was not to begin.
[[clang::preserve_most]] Result<void> PostOperation::finish() noexcept {
    if (interrupted()) {
        if (request() != nullptr) leave();
        return interruption("send");
    }
    if (sender().error_ != 0) return Error{"send", sender().error_};
    if (!piece_.empty())
        sender().push(std::move(piece_));
    else
        leave();
    return {};
}

/// Lets the sender go if there is nothing for it to do.
void PostOperation::leave() noexcept {
    give_up_claim();
    if (!sender().claimed()) sender().rest();
}

}  // namespace ringfort::uring
