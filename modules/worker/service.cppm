export module ringfort.worker:service;

import ringfort.base;
import ringfort.coro;
import ringfort.net;
import ringfort.std;
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

    /// Is called once, before the first connection, when the worker's pools are there: opens what
    /// is in them, say. May block, for a moment: the worker is not ready before. An error keeps the
    /// worker from starting.
    [[nodiscard]] virtual Result<void> start(Context& context);

    /// Serves one connection from beginning to end. Owns `peer`. An error is counted and logged at
    /// level debug. When the worker's drain time is over, the task is cancelled. Without one,
    /// ENOTSUP ends the connection; the check of the configuration refuses such a listener.
    [[nodiscard]] virtual coro::Task<Result<void>> serve(net::Stream peer, Context& context);

    /// Deals with one datagram of a listener of UDP: answers it, or does not. Owns it. Up to
    /// `limits::datagrams_in_service` tasks at a time; more datagrams wait, and the kernel drops
    /// those it has no room for. An error, cancelling and the lack of one: as for `serve`.
    [[nodiscard]] virtual coro::Task<Result<void>> on_datagram(net::Delivery datagram,
                                                               Context& context);

    /// Works beside the connections: what is to be done from time to time, say. Begins when the
    /// worker is started, and is cancelled when that drains or ends. Runs in every worker: what one
    /// is to do for all is done where `Context::slot()` is 0, which is respawned if it dies. An
    /// error is logged as a warning.
    [[nodiscard]] virtual coro::Task<Result<void>> work(Context& context);

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

/// A service that prepares itself, see `Service::start`.
template <class S>
concept Starts = requires(S service, Context& context) {
    { service.start(context) } -> std::same_as<Result<void>>;
};

/// A service with work beside its connections, see `Service::work`.
template <class S>
concept Works = requires(S service, Context& context) {
    { service.work(context) } -> std::same_as<coro::Task<Result<void>>>;
};

/// Lets such a type be one.
template <Serves S>
class ServiceOf final : public Service {
public:
    static_assert(
        Hears<S> || !requires { &S::on_message; },
        "on_message is Task<Result<void>>(PeerMessage, Context&)");
    static_assert(Starts<S> || !requires { &S::start; }, "start is Result<void>(Context&)");
    static_assert(Works<S> || !requires { &S::work; }, "work is Task<Result<void>>(Context&)");
    static_assert(
        TakesConnections<S> || !requires { &S::serve; },
        "serve is Task<Result<void>>(net::Stream, Context&)");
    static_assert(
        TakesDatagrams<S> || !requires { &S::on_datagram; },
        "on_datagram is Task<Result<void>>(net::Delivery, Context&)");
    explicit ServiceOf(S service) : service_{std::move(service)} {}
    /// See Service.
    Result<void> start(Context& context) override {
        if constexpr (Starts<S>)
            return service_.start(context);
        else
            return Service::start(context);
    }
    /// See Service.
    [[clang::coro_wrapper]] coro::Task<Result<void>> work(Context& context) override {
        if constexpr (Works<S>)
            return service_.work(context);
        else
            return Service::work(context);
    }
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
