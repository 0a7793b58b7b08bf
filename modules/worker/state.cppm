module ringfort.worker:state;

import ringfort.base;
import ringfort.channel;
import ringfort.coro;
import ringfort.net;
import ringfort.std;
import ringfort.uring;
import :context;
import :peers;
import :run;
import :service;

// Nothing here is exported: `run` is all that a process needs of a worker.
namespace ringfort::worker {

/// Says what is being handled: ": " and its text, or " what is no std::exception". Within a catch
/// block only.
[[nodiscard]] std::string thrown();

/// One worker: its state, and the tasks that change it.
class Worker {
public:
    /// `shortcomings` are the loop's; the master is told of them.
    Worker(uring::Loop& loop, channel::Channel to_master, Options& options,
           std::vector<std::string> shortcomings)
        : loop_{loop},
          master_{std::move(to_master)},
          options_{options},
          shortcomings_{std::move(shortcomings)},
          context_{loop} {
        context_.peers_ = &peers_;
    }

    coro::Task<int> run();

private:
    /// Where datagrams come in and answers go out. The tasks that answer hold it, too.
    struct Mailbox {
        net::Datagram socket;
        std::uint32_t in_service = 0;  ///< datagrams that a task deals with
        std::deque<net::Packet> last;  ///< received when it was closed, and for no task yet
    };
    struct Listener {
        Listener(const channel::AddListener& message, Fd given)
            : service{message.service}, address{message.address}, socket{std::move(given)} {}
        std::string service;
        Address address;
        Fd socket;
        std::shared_ptr<Mailbox> mailbox;      ///< of UDP; has a copy of the socket
        std::optional<coro::Scope> accepting;  ///< below `acceptors_`; from the start on
    };
    using Listeners = std::map<std::uint32_t, Listener>;

    /// A service, and what the stall detector calls its tasks.
    struct Running {
        std::unique_ptr<Service> service;
        coro::Label label;
    };

    coro::Task<void> obey();
    coro::Task<void> watch_signals();
    coro::Task<void> accept_from(const Listener& listener);
    coro::Task<void> retire(Listeners::node_type listener);
    coro::Task<void> accept_last();
    coro::Task<void> serve(Service& service, net::Stream peer);
    coro::Task<void> receive_from(const Listener& listener);
    coro::Task<void> receive_waiting(const Listener& listener);
    coro::Task<void> receive_last(const Listener& listener);
    coro::Task<void> answer(Running& running, std::shared_ptr<Mailbox> mailbox, net::Packet packet);
    coro::Task<void> watch_peer(PeerId peer);
    coro::Task<void> deliver(PeerMessage message);
    coro::Task<void> flush_peers();
    coro::Task<void> beat();
    coro::Task<void> work(Running& running);
    coro::Task<void> limit_drain(Milliseconds timeout);
    coro::Task<void> end_grace();
    coro::Task<void> wait_for_successor();
    coro::Task<void> answer_client(Fd client);
    coro::Task<void> obey_successor(channel::Channel successor);

    void on(const channel::AddListener& message, channel::Fds fds);
    void on(const channel::RemoveListener& message, channel::Fds fds);
    void on(const channel::AddZone& message, channel::Fds fds);
    void on(const channel::OfferListener& message, channel::Fds fds);
    void on(const channel::Start& message, channel::Fds fds);
    void on(const channel::Drain& message, channel::Fds) { stop(message.timeout); }
    void on(const channel::Terminate&, channel::Fds) { terminate(); }
    void on(const channel::ReopenLogs& message, channel::Fds fds);
    void on(const channel::SetLogLevel& message, channel::Fds fds);
    void on(const channel::OpenPeer& message, channel::Fds fds);
    void on(const channel::ClosePeer& message, channel::Fds fds);
    template <class Other>
    void on(const Other& message, channel::Fds fds);

    Result<void> make_service(const std::string& name);
    Result<void> prepare(Running& running);
    Result<void> start(const channel::Start& message);
    void open_pools();
    void begin_accepting(Listener& listener);
    void take(const Listener& listener, net::Stream peer);
    void take(const Listener& listener, net::Packet packet);
    void begin_answer(Running& running, std::shared_ptr<Mailbox> mailbox, net::Packet packet);
    void answer_next(Running& running, std::shared_ptr<Mailbox> mailbox);
    [[nodiscard]] std::string what_is_served() const;
    Result<void> open_mailbox(Listener& listener);
    Result<void> offer_estate(channel::Channel& successor);
    void lose_master();
    [[nodiscard]] bool is_succeeded() const;
    void stop(Milliseconds drain_timeout);
    void terminate();
    void cut();
    void fail(const Error& error, const std::string& what);
    void send(const channel::Message& message);
    void count(Counter counter, std::uint64_t amount = 1);

    uring::Loop& loop_;
    channel::Channel master_;
    Options& options_;
    std::vector<std::string> shortcomings_;
    Context context_;
    net::Sweep sweep_{loop_};
    Peers peers_;
    Fd door_;  ///< the master's control socket, by which a successor of it finds an orphan
    std::uint32_t callers_ = 0;  ///< have come to it, and not said what they want
    bool adopted_ = false;       ///< a successor has been given all
    std::set<PeerId> watched_;   ///< the peers whose channels a task looks at
    std::optional<Counters> counters_;
    std::uint32_t row_ = 0;
    std::map<std::string, Running> services_;  ///< those with a listener
    std::optional<coro::Scope> commands_;
    std::optional<coro::Scope> upkeep_;     ///< the services' own work
    std::optional<coro::Scope> acceptors_;  ///< one scope below it for each listener
    Listeners listeners_;
    std::optional<coro::Scope> connections_;
    std::optional<coro::Scope> datagrams_;  ///< apart: `connections_` has its own limit
    std::size_t last_datagrams_ = 0;        ///< in all mailboxes' `last`
    coro::Event stop_;
    coro::Event room_;  ///< a connection or the task of a datagram has ended
    bool started_ = false;
    bool terminating_ = false;
    Milliseconds drain_timeout_{0};
    int exit_code_ = 0;
};

}  // namespace ringfort::worker
