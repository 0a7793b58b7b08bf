export module ringfort:reach;

import ringfort.base;
import ringfort.std;

export namespace ringfort {

/// What a service reaches beyond the connections it is given: a worker's sandbox refuses the rest.
/// A value, made of the service's configuration.
struct Reach {
    std::vector<std::string> read = {};   ///< files, and folders with all below them
    std::vector<std::string> write = {};  ///< the same, to change; and to make and remove files in
    /// Where it connects. Of TCP only the port is looked at; with one unix socket all of them are
    /// allowed that file permissions let it, the abstract ones of other processes if one is.
    std::vector<Address> connect = {};
    bool connect_anywhere = false;  ///< by TCP
    bool datagrams = false;         ///< UDP sockets, which reach everything
};

/// A service that says what it reaches: `static rf::Reach reach(const Config&)`. It is called in
/// the worker, before the service is made.
template <class S>
concept SaysReach = requires(const typename S::Config& config) {
    { S::reach(config) } -> std::same_as<Reach>;
};

}  // namespace ringfort
