module;
#include <coroutine>
#include <exception>
module ringfort.worker;

import ringfort.base;
import ringfort.coro;

namespace ringfort::worker {

Result<void> Service::start(Context&) {
    return {};
}

coro::Task<Result<void>> Service::on_message(PeerMessage, Context&) {
    co_return {};
}

}  // namespace ringfort::worker
