module;
#include <concepts>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
export module ringfort.worker:service;

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import :context;
import :peers;

export namespace ringfort::worker {

/// What answers the connections or the datagrams of a listener. One object per worker; its tasks
/// all run on the worker's one thread.
class Service {
public:
    Service() = default;
    Service(Service&&) = delete;
    virtual ~Service() = default;

    /// Serves one connection from beginning to end. Owns `peer`. An error is counted and logged at
    /// level debug. When the worker's drain time is over, the task is cancelled. Without one,
    /// ENOTSUP ends the connection; the check of the configuration refuses such a listener.
    [[nodiscard]] virtual coro::Task<Result<void>> serve(net::Stream peer, Context& context);

    /// Deals with one datagram of a listener of UDP: answers it, or does not. Owns it. Up to
    /// `limits::datagrams_in_service` tasks at a time; more datagrams wait, and the kernel drops
    /// those it has no room for. An error, cancelling and the lack of one: as for `serve`.
    [[nodiscard]] virtual coro::Task<Result<void>> on_datagram(net::Delivery datagram,
                                                               Context& context);

    /// Hears what this service in another worker has sent; see `Context::send`. The next message of
    /// the same worker comes when the task has ended: meanwhile they wait, and their sender is
    /// refused more. An error is logged at level debug. Cancelled when the worker ends. Without
    /// one, messages are dropped.
    [[nodiscard]] virtual coro::Task<Result<void>> on_message(PeerMessage message,
                                                              Context& context);
};

/// Makes the service object of a worker; runs in the worker, before it is ready.
using ServiceFactory = std::function<std::unique_ptr<Service>()>;

/// A service that takes connections.
template <class S>
concept TakesConnections = requires(S service, net::Stream peer, Context& context) {
    { service.serve(std::move(peer), context) } -> std::same_as<coro::Task<Result<void>>>;
};

/// A service that takes datagrams.
template <class S>
concept TakesDatagrams = requires(S service, net::Delivery datagram, Context& context) {
    { service.on_datagram(std::move(datagram), context) } -> std::same_as<coro::Task<Result<void>>>;
};

/// A type that can be a service without deriving from Service.
template <class S>
concept Serves = TakesConnections<S> || TakesDatagrams<S>;

/// A service that hears what its siblings in other workers send.
template <class S>
concept Hears = requires(S service, PeerMessage message, Context& context) {
    { service.on_message(std::move(message), context) } -> std::same_as<coro::Task<Result<void>>>;
};

/// Lets such a type be one.
template <Serves S>
class ServiceOf final : public Service {
public:
    static_assert(
        Hears<S> || !requires { &S::on_message; },
        "on_message is Task<Result<void>>(PeerMessage, Context&)");
    static_assert(
        TakesConnections<S> || !requires { &S::serve; },
        "serve is Task<Result<void>>(net::Stream, Context&)");
    static_assert(
        TakesDatagrams<S> || !requires { &S::on_datagram; },
        "on_datagram is Task<Result<void>>(net::Delivery, Context&)");
    explicit ServiceOf(S service) : service_{std::move(service)} {}
    /// See Service.
    [[clang::coro_wrapper]] coro::Task<Result<void>> serve(net::Stream peer,
                                                           Context& context) override {
        if constexpr (TakesConnections<S>)
            return service_.serve(std::move(peer), context);
        else
            return Service::serve(std::move(peer), context);
    }
    /// See Service.
    [[clang::coro_wrapper]] coro::Task<Result<void>> on_datagram(net::Delivery datagram,
                                                                 Context& context) override {
        if constexpr (TakesDatagrams<S>)
            return service_.on_datagram(std::move(datagram), context);
        else
            return Service::on_datagram(std::move(datagram), context);
    }
    /// See Service.
    [[clang::coro_wrapper]] coro::Task<Result<void>> on_message(PeerMessage message,
                                                                Context& context) override {
        if constexpr (Hears<S>)
            return service_.on_message(std::move(message), context);
        else
            return Service::on_message(std::move(message), context);
    }

private:
    S service_;
};

}  // namespace ringfort::worker
