#pragma once
#include <cstddef>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "connection.h"
#include "endpoint.h"
#include "owned_fd.h"

namespace e2e {

/// A server inside the test: a thread that accepts, and a thread for each connection. What a
/// handler throws is kept for `errors`. The destructor ends the accepting at once and waits for
/// the handlers, whose steps all have deadlines.
class Upstream {
public:
    using Handler = std::function<void(Connection&)>;

    explicit Upstream(Handler handler, const Endpoint& at = Endpoint::parse("127.0.0.1:0"));
    ~Upstream();
    Upstream(const Upstream&) = delete;
    Upstream& operator=(const Upstream&) = delete;

    [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
    [[nodiscard]] std::size_t accepted() const;
    /// Waits for all handlers started so far and returns what they threw, one line each.
    [[nodiscard]] std::string errors();

private:
    void accept_until_told();
    void serve(OwnedFd fd);

    Handler handler_;
    OwnedFd listener_;
    Endpoint endpoint_;
    OwnedFd stop_;  ///< an eventfd, readable when the accepting shall end
    mutable std::mutex mutex_;
    std::list<std::jthread> handlers_;
    std::size_t accepted_ = 0;
    std::string errors_;
    std::jthread acceptor_;
};

/// Sends back what comes until the peer closes its half.
void echo_back(Connection& connection);

}  // namespace e2e
