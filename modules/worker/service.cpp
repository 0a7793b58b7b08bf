module;
#include <coroutine>
#include <exception>
#include <system_error>
module ringfort.worker;

import ringfort.base;
import ringfort.coro;
import ringfort.net;

namespace ringfort::worker {

std::string thrown() {
    try {
        throw;
    } catch (const std::exception& exception) {
        return std::string{": "} + exception.what();
    } catch (...) {
        return " what is no std::exception";
    }
}

Result<void> Service::start(Context&) {
    return {};
}

coro::Task<Result<void>> Service::serve(net::Stream, Context&) {
    co_return Error{"serve a connection", std::errc::not_supported};
}

coro::Task<Result<void>> Service::on_datagram(net::Delivery, Context&) {
    co_return Error{"take a datagram", std::errc::not_supported};
}

coro::Task<Result<void>> Service::work(Context&) {
    co_return Result<void>{};
}

coro::Task<Result<void>> Service::on_message(PeerMessage, Context&) {
    co_return {};
}

}  // namespace ringfort::worker
