module;
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>

#include <cerrno>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>
module ringfort.uring;

import ringfort.base;
import :soft_ring_readiness;
import :soft_ring_requests;

namespace ringfort::uring::soft {

namespace {

/// Errors after which the descriptor is tried from time to time instead of watched.
bool out_of_room(int error) noexcept {
    return error == -ENOMEM || error == -ENOSPC || error == -EMFILE || error == -ENFILE;
}

}  // namespace

Result<void> Readiness::open() {
    level_ = Fd{::epoll_create1(EPOLL_CLOEXEC)};
    if (!level_) return Error::last("epoll_create1");
    return {};
}

int Readiness::wait(Request& request) {
    const RawFd fd = request.sqe.fd;
    if (fd < 0) return -EBADF;
    if (watches_.size() <= static_cast<std::size_t>(fd))
        watches_.resize(static_cast<std::size_t>(fd) + 1);
    Watch& watch = watches_[static_cast<std::size_t>(fd)];
    const bool alone = watch.waiters.empty();
    watch.waiters.push_back(request);
    if (watch.troubled) return 0;

    int failed = 0;
    if (request.on_edges()) {
        failed = arm_edge(fd, watch);
    } else {
        const bool kept =
            watch.level.present && (watch.level.mask & request.events) == request.events;
        failed = kept ? 0 : arm(level_.get(), fd, watch.level, request.events);
        if (kept && alone) {
            watch.trusted = true;
            trusted_.push_back({fd, ++watch.trust_serial, now()});
        }
    }
    if (out_of_room(failed)) {
        trouble(fd);
        failed = 0;
    }
    if (failed != 0) watch.waiters.remove(request);
    return failed;
}

void Readiness::leave(Request& request) noexcept {
    if (request.place == Place::stranded) return stranded_.remove(request);
    Watch& watch = watches_[static_cast<std::size_t>(request.sqe.fd)];
    watch.waiters.remove(request);
    if (request.on_edges() && wanted(watch, true) == 0)
        (void)drop(edge_.get(), request.sqe.fd, watch.edge);
}

Watch* Readiness::find(RawFd fd) noexcept {
    const bool known = fd >= 0 && static_cast<std::size_t>(fd) < watches_.size();
    return known ? &watches_[static_cast<std::size_t>(fd)] : nullptr;
}

bool Readiness::announces(RawFd fd, std::uint32_t bits) noexcept {
    const Watch* watch = find(fd);
    return watch != nullptr && watch->drained && watch->level.present && !watch->troubled &&
           (watch->level.mask & bits) == bits;
}

bool Readiness::has_waiter(RawFd fd, std::uint32_t bits) noexcept {
    const Watch* watch = find(fd);
    if (watch == nullptr) return false;
    for (const Request* waiter = watch->waiters.front(); waiter != nullptr; waiter = waiter->next)
        if (waiter->sqe.opcode != IORING_OP_POLL_ADD && (waiter->events & bits) != 0) return true;
    return false;
}

void Readiness::drained(RawFd fd, bool all) noexcept {
    if (Watch* watch = find(fd); watch != nullptr) watch->drained = all;
}

void Readiness::strand(Watch& watch) noexcept {
    while (Request* request = watch.waiters.front()) {
        watch.waiters.remove(*request);
        request->place = Place::stranded;
        stranded_.push_back(*request);
    }
    watch.trusted = watch.troubled = watch.drained = false;
    watch.fruitless = 0;
}

void Readiness::forget(RawFd fd) noexcept {
    Watch* watch = find(fd);
    if (watch == nullptr) return;
    (void)drop(level_.get(), fd, watch->level);
    (void)drop(edge_.get(), fd, watch->edge);
    strand(*watch);
}

void Readiness::renewed(RawFd fd) noexcept {
    Watch* watch = find(fd);
    if (watch == nullptr) return;
    clear(watch->level);
    clear(watch->edge);
    strand(*watch);
}

void Readiness::distrust(RawFd fd) noexcept {
    Watch* watch = find(fd);
    if (watch == nullptr || !watch->level.present) return;
    (void)drop(level_.get(), fd, watch->level);
    if (!watch->waiters.empty()) recover(fd);
}

void Readiness::clear(Registration& registration) noexcept {
    if (std::exchange(registration.present, false)) --registered_;
}

int Readiness::control(RawFd instance, int operation, RawFd fd, std::uint32_t mask,
                       std::uint32_t generation) noexcept {
    epoll_event event{};
    event.events = mask;
    event.data.u64 = std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
    ++statistics.registrations;
    return ::epoll_ctl(instance, operation, fd, &event) == 0 ? 0 : -errno;
}

int Readiness::arm(RawFd instance, RawFd fd, Registration& registration,
                   std::uint32_t mask) noexcept {
    const std::uint32_t all = registration.present ? registration.mask | mask : mask;
    if (registration.present) {
        const int failed = control(instance, EPOLL_CTL_MOD, fd, all, registration.generation);
        if (failed == 0) registration.mask = all;
        if (failed != -ENOENT) return failed;
        clear(registration);  // the number's file is another one than we registered
    }
    const std::uint32_t generation = ++generation_;
    int failed = control(instance, EPOLL_CTL_ADD, fd, all, generation);
    if (failed == -EEXIST) failed = control(instance, EPOLL_CTL_MOD, fd, all, generation);
    if (failed != 0) return failed;
    registration = {true, all, generation};
    ++registered_;
    return 0;
}

int Readiness::arm_edge(RawFd fd, Watch& watch) noexcept {
    if (!edge_) {
        edge_ = Fd{::epoll_create1(EPOLL_CLOEXEC)};
        if (!edge_) return -errno;
        const int failed = control(level_.get(), EPOLL_CTL_ADD, edge_.get(), EPOLLIN, 0);
        if (failed != 0) {
            edge_.close();
            return failed;
        }
    }
    return arm(edge_.get(), fd, watch.edge, wanted(watch, true) | EPOLLET);
}

int Readiness::drop(RawFd instance, RawFd fd, Registration& registration) noexcept {
    if (!registration.present) return 0;
    clear(registration);
    return control(instance, EPOLL_CTL_DEL, fd, 0, 0);
}

std::uint32_t Readiness::wanted(const Watch& watch, bool edge) noexcept {
    std::uint32_t all = 0;
    for (const Request* waiter = watch.waiters.front(); waiter != nullptr; waiter = waiter->next)
        if (waiter->on_edges() == edge) all |= waiter->events | (edge ? EPOLLRDHUP : 0U);
    return all;
}

void Readiness::settle(RawFd fd, std::uint32_t bits, bool taken) noexcept {
    Watch& watch = watches_[static_cast<std::size_t>(fd)];
    if (taken) watch.trusted = false;
    if (!watch.level.present) return;
    const std::uint32_t needed = wanted(watch, false);
    // Room to write is there nearly always: it would wake us in every turn. Bytes to read will
    // usually be asked for again, so that their announcement stays until it comes in vain.
    const std::uint32_t unwanted = bits & watch.level.mask & ~needed & (taken ? EPOLLOUT : ~0U);
    const bool dead = !taken && needed == 0;
    if (unwanted == 0 && !dead) return;
    const std::uint32_t rest = (watch.level.mask & ~unwanted) | needed;
    // It was announced, so that it exists; if the number does not lead to it, nothing does.
    if (dead || rest == 0) {
        orphaned_ |= drop(level_.get(), fd, watch.level) != 0;
    } else if (control(level_.get(), EPOLL_CTL_MOD, fd, rest, watch.level.generation) == 0) {
        watch.level.mask = rest;
    } else {
        orphaned_ = true;
    }
}

void Readiness::trouble(RawFd fd) {
    Watch& watch = watches_[static_cast<std::size_t>(fd)];
    if (watch.troubled) return;
    watch.trusted = false;
    watch.fruitless = 0;
    if (drop(level_.get(), fd, watch.level) != 0) {
        orphaned_ = true;  // what was announced is another file; this one is registered by `sweep`
        return;
    }
    watch.troubled = true;
    troubled_.push_back(fd);
}

std::vector<RawFd> Readiness::take_troubled() noexcept {
    for (const RawFd fd : troubled_) watches_[static_cast<std::size_t>(fd)].troubled = false;
    return std::exchange(troubled_, {});
}

void Readiness::recover(RawFd fd) noexcept {
    Watch& watch = watches_[static_cast<std::size_t>(fd)];
    watch.fruitless = 0;
    int failed = 0;
    if (const std::uint32_t needed = wanted(watch, false); needed != 0 && !watch.level.present)
        failed = arm(level_.get(), fd, watch.level, needed);
    if (wanted(watch, true) != 0 && !watch.edge.present && failed == 0)
        failed = arm_edge(fd, watch);
    if (failed != 0) trouble(fd);
}

std::vector<RawFd> Readiness::check_trusted(Instant time) noexcept {
    std::vector<RawFd> closed;
    while (!trusted_.empty() && time - trusted_.front().since >= limits::soft_ring_trust_ms) {
        const Trust trust = trusted_.front();
        trusted_.pop_front();
        Watch& watch = watches_[static_cast<std::size_t>(trust.fd)];
        if (!watch.trusted || watch.trust_serial != trust.serial || !watch.level.present) continue;
        watch.trusted = false;
        const std::uint32_t needed = wanted(watch, false);
        if (needed == 0) continue;
        int failed = control(level_.get(), EPOLL_CTL_MOD, trust.fd, watch.level.mask,
                             watch.level.generation);
        if (failed == -ENOENT) {
            clear(watch.level);
            failed = arm(level_.get(), trust.fd, watch.level, needed);
        }
        if (out_of_room(failed)) trouble(trust.fd);
        if (failed == -EBADF || failed == -EPERM) {
            clear(watch.level);
            closed.push_back(trust.fd);
        }
    }
    return closed;
}

void Readiness::sweep() noexcept {
    if (!std::exchange(orphaned_, false)) return;
    Fd fresh{::epoll_create1(EPOLL_CLOEXEC)};
    if (!fresh) {
        orphaned_ = true;  // try again in the next turn
        return;
    }
    ++statistics.rebuilds;
    level_ = std::move(fresh);
    edge_.close();
    for (Watch& watch : watches_) {
        clear(watch.level);
        clear(watch.edge);
    }
    for (std::size_t fd = 0; fd < watches_.size(); ++fd)
        if (!watches_[fd].waiters.empty() && !watches_[fd].troubled)
            recover(static_cast<RawFd>(fd));
}

}  // namespace ringfort::uring::soft
