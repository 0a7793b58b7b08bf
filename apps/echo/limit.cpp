module;
#include <ringfort/try.h>

#include <chrono>
#include <compare>
#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
module echo;

import ringfort;
namespace rf = ringfort;

namespace {

// Where in the pool the two structures begin.
constexpr std::uint32_t held_root = 0;
constexpr std::uint32_t rate_root = 1;

constexpr int attempts = 4;  // to make room for a client that is not counted yet
constexpr rf::Milliseconds upkeep_pause{1'000};
constexpr int upkeep_steps = 16;  // transactions, then the pause
constexpr rf::Milliseconds warning_pause{1'000};

}  // namespace

rf::Result<void> ClientLimit::start(rf::worker::Context& context) {
    if (config_.zone.empty()) return {};
    const auto opened = open(context);
    if (opened || opened.error().is(std::errc::no_such_file_or_directory)) return opened;
    if (opened.error().is(std::errc::not_enough_memory)) {
        rf::log::error("echo: zone {} has no room to count {} clients: make it larger",
                       config_.zone, config_.clients);
        return opened;
    }
    warn("clients are not limited", opened.error());
    return {};
}

rf::Result<void> ClientLimit::open(rf::worker::Context& context) {
    RF_LET(const auto pool, context.pool(config_.zone));
    const rf::shm::MapOptions size{.buckets = config_.clients};
    const auto held = rf::shm::ConnectionLimiter::open_or_create(pool, held_root, size);
    const auto rate = rf::shm::RateLimiter::open_or_create(pool, rate_root, size);
    if (held && rate) {
        counts_.emplace(Counts{pool, *held, *rate});
        return {};
    }
    const rf::Error why = held ? rate.error() : held.error();
    // The zone's purpose says that nothing else can be there.
    if (why.is(std::errc::protocol_error)) pool.quarantine();
    return why;
}

// Refused by one of the two, it is counted by neither: the transaction is not committed.
rf::Result<bool> ClientLimit::count(rf::shm::Transaction& transaction,
                                    std::string_view client) const {
    if (config_.connections > 0) {
        RF_LET(const bool free, counts_->held.acquire(transaction, client, config_.connections));
        if (!free) return false;
    }
    if (config_.rate > 0) {
        const rf::shm::Rate rate{
            .tokens = config_.rate, .per = config_.per, .burst = config_.burst};
        RF_LET(const auto verdict, counts_->rate.take(transaction, client, rate, rf::now()));
        if (!verdict.allowed) return false;
    }
    RF_TRY(transaction.commit());
    return true;
}

rf::Task<rf::Result<bool>> ClientLimit::try_to_count(std::string_view client,
                                                     rf::worker::Context& context) {
    RF_CO_LET(rf::shm::Transaction transaction, co_await context.begin(counts_->pool));
    co_return count(transaction, client);
}

rf::Task<bool> ClientLimit::admit(std::string_view client, rf::worker::Context& context) {
    if (!counts_) co_return true;
    for (int attempt = 0; attempt < attempts; ++attempt) {
        const auto counted = co_await try_to_count(client, context);
        if (counted) co_return *counted;
        if (!counted.error().is(std::errc::not_enough_memory)) {
            warn("clients are not limited", counted.error());
            co_return true;
        }
        static_cast<void>(co_await forget_some(context));
    }
    warn("zone " + config_.zone + " is full of clients, and more are refused: make it larger",
         rf::Error{"count a client", std::errc::not_enough_memory});
    co_return false;
}

rf::Task<bool> ClientLimit::forget_some(rf::worker::Context& context) {
    auto transaction = co_await context.begin(counts_->pool);
    if (!transaction) co_return false;
    if (counts_->rate.expire(*transaction, rf::now()) > 0) static_cast<void>(transaction->commit());
    co_return true;
}

rf::Task<void> ClientLimit::leave(std::string_view client, rf::worker::Context& context) {
    if (!counts_ || config_.connections == 0) co_return;
    auto transaction = co_await context.begin(counts_->pool);
    rf::Result<void> left =
        transaction ? counts_->held.release(*transaction, client) : transaction.error();
    if (left) left = transaction->commit();
    // It was not counted if that had failed; what is left over ends with this worker.
    if (!left && !left.error().is(std::errc::no_such_file_or_directory))
        warn("a client's connection stays counted until this worker ends", left.error());
}

rf::Task<rf::Result<void>> ClientLimit::work(rf::worker::Context& context) {
    if (!counts_ || config_.rate == 0 || context.slot() != 0) co_return {};
    for (;;) {
        RF_CO_TRY(co_await context.loop().sleep(upkeep_pause));
        for (int step = 0; step < upkeep_steps; ++step) {
            if (!co_await forget_some(context)) break;  // the next one may be luckier
        }
    }
}

void ClientLimit::warn(std::string_view text, const rf::Error& error) {
    const rf::Instant time = rf::now();
    if (warned_ != rf::Instant{} && time - warned_ < warning_pause) return;
    warned_ = time;
    rf::log::warning("echo: {}: {}", text, error.text());
}
