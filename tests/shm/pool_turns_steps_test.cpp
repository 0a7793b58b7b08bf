// Owners of one pool take turns at every store, as a seed decides, and are killed there; plain std
// containers are changed alongside. To replay a failure, set RINGFORT_SHM_SEED to the seed that it
// prints.
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "fibers.hpp"
#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;
using Text = std::optional<std::string>;

constexpr std::uint32_t owners = 5;
constexpr std::uint64_t budget = 500;
constexpr std::uint64_t most_held = 4;
constexpr std::uint64_t most_blocks = 24;
constexpr Rate rate{.tokens = 1, .per = Milliseconds{50}, .burst = 4};
constexpr std::chrono::milliseconds token{50};

// What is in the pool.
struct Model {
    std::map<std::string, std::string> map;
    std::vector<std::pair<std::string, std::string>> cache;  // the one used last in front
    std::deque<std::string> queue;
    std::map<std::string, Instant> full;
    std::map<std::string, std::array<std::uint64_t, owners>> held;
    std::map<Offset, std::string> blocks;
    std::array<std::uint64_t, owners> lives{};  // how often a row has been given out
};

// What an owner has opened.
struct Views {
    Texts map;
    Cache cache;
    Queue queue;
    RateLimiter rates;
    ConnectionLimiter connections;
};

// A transaction that is being committed.
struct Pending {
    std::uint64_t id;
    std::uint32_t row;
    bool dead;
    Model after;
};

std::uint64_t tokens_in(const Model& model, const std::string& key, Instant now) {
    const auto found = model.full.find(key);
    if (found == model.full.end() || found->second <= now) return rate.burst;
    const auto missing = found->second - now;
    return rate.burst -
           static_cast<std::uint64_t>((missing + token - std::chrono::nanoseconds{1}) / token);
}

std::string string_of(ByteView bytes) {
    return value_of<std::string>(bytes).value();
}

class World {
public:
    explicit World(std::uint64_t seed)
        : zone_{
              Zone::create("turns", "pool/1", Pool::zone_size(owners, Bytes{64 * 4'096})).value()},
          keeper_{Pool::format(zone_, owners).value()},
          fibers_{owners,
                  seed,
                  {},
                  [this](std::uint32_t row) { operate(row); },
                  [this](std::uint32_t row) { bury(row); }} {
        static_cast<void>(make(keeper_));
        for (std::uint32_t row = 0; row < owners; ++row) admit(row);
    }

    fibers::Fibers& fibers() { return fibers_; }
    std::uint64_t operations() const { return operations_; }

    // When everybody is dead.
    void look_at_the_end() {
        keeper_.check().value();
        const Views views = make(keeper_);
        static_cast<void>(views.connections.heal().value());
        for (const char* key : {"a", "b", "c"}) REQUIRE(views.connections.count(key).value() == 0);
        Transaction transaction = keeper_.begin().value();
        const std::string found = picture(transaction, views);
        if (pending_ && found == text(pending_->after)) model_ = pending_->after;
        REQUIRE(found == text(model_));
    }

private:
    static Views make(const Pool& pool) {
        return {Texts::open_or_create(pool, 0, {.buckets = 2}).value(),
                Cache::open_or_create(pool, 1, {.buckets = 2, .budget = Bytes{budget}}).value(),
                Queue::open_or_create(pool, 2, Bytes{200}).value(),
                RateLimiter::open_or_create(pool, 3, {.buckets = 2}).value(),
                ConnectionLimiter::open_or_create(pool, 4, {.buckets = 2}).value()};
    }

    void admit(std::uint32_t row) {
        const Owner owner = keeper_.admit(row, {}).value();
        ++model_.lives[row];
        if (pending_) pending_->after.lives = model_.lives;
        pools_[row].emplace(Pool::attach(zone_, owner).value());
        views_[row].reset();
    }

    // By the master, which recovers itself or leaves it to the next one who wants the lock.
    void bury(std::uint32_t row) {
        if (pending_ && pending_->row == row) pending_->dead = true;
        unresolved_ = true;
        for (const char* key : {"a", "b", "c"}) {
            std::uint64_t& held = model_.held[key][row];
            std::uint64_t most = std::exchange(held, 0);
            if (pending_) most = std::max(most, std::exchange(pending_->after.held[key][row], 0));
            dead_[key].emplace_back(deaths_, most);
        }
        ++deaths_;
        if (fibers_.random() % 2 == 0)
            keeper_.owners().bury(row);
        else
            static_cast<void>(keeper_.bury(row).value());
        if (fibers_.failure().empty()) admit(row);
    }

    // What a transaction finds, which is rolled back afterwards.
    std::string picture(Transaction& transaction, const Views& views) {
        Model found;
        // Before anything is allocated for the rest of the picture.
        auto blocks = model_.blocks;
        if (pending_) blocks.insert(pending_->after.blocks.begin(), pending_->after.blocks.end());
        for (const auto& [block, content] : blocks)
            if (transaction.size_of(block) != 0)
                found.blocks.emplace(block, string_of(transaction.bytes(block, content.size())));
        const Map& map = views.map.untyped();
        for (std::uint32_t bucket = 0; bucket < map.buckets(); ++bucket)
            map.visit(transaction, bucket, {}, [&](ByteView key, ByteView value) {
                found.map.emplace(string_of(key), string_of(value));
            });
        views.cache.visit(transaction, [&](ByteView key, ByteView value) {
            found.cache.emplace_back(string_of(key), string_of(value));
        });
        while (const auto message = views.queue.pop(transaction))
            found.queue.push_back(string_of(*message));
        std::string tokens;
        for (const char* key : {"a", "b", "c"}) {
            std::uint64_t most = rate.burst;
            while (most > 0 &&
                   !views.rates.take(transaction, key, rate, now_, most).value().allowed)
                --most;
            tokens += std::to_string(most);
        }
        return text(found, tokens);
    }
    std::string text(const Model& model) const {
        std::string tokens;
        for (const char* key : {"a", "b", "c"})
            tokens += std::to_string(tokens_in(model, key, now_));
        return text(model, tokens);
    }
    static std::string text(const Model& model, const std::string& tokens) {
        std::string text = "map";
        for (const auto& [key, value] : model.map) text += ' ' + key + '=' + value;
        text += "\ncache";
        for (const auto& [key, value] : model.cache) text += ' ' + key + '=' + value;
        text += "\nqueue";
        for (const std::string& message : model.queue) text += ' ' + message;
        text += "\ntokens " + tokens + "\nblocks";
        for (const auto& [block, content] : model.blocks)
            text += ' ' + std::to_string(block) + '=' + content;
        return text;
    }

    void require(bool right, const std::string& what) { fibers_.require(right, what); }
    std::uint64_t random(std::uint64_t below) { return fibers_.random() % below; }
    std::string name() { return std::string(1, static_cast<char>('a' + random(3))); }
    std::string content() {
        return std::string(random(4) == 0 ? random(200) : random(20),
                           static_cast<char>('p' + random(8)));
    }

    Transaction begin(std::uint32_t row) {
        for (;;) {
            Result<Transaction> transaction = pools_[row]->begin();
            require(transaction.has_value(), "a transaction does not begin");
            // Its lock was free, so it has happened, though nobody has been told of it yet.
            if (pending_ && !pending_->dead) apply();
            if (!unresolved_ && random(16) != 0) return *std::move(transaction);
            const std::string found = picture(*transaction, *views_[row]);
            if (pending_ && found == text(pending_->after)) apply();
            pending_.reset();
            require(found == text(model_), found + "\nwhere there should be\n" + text(model_));
            unresolved_ = false;
        }
    }
    void apply() {
        model_ = std::move(pending_->after);
        pending_.reset();
    }
    void commit(std::uint32_t row, Transaction transaction, Model after) {
        const std::uint64_t id = ++operations_;
        // What those held who have died since this began is the dead's.
        for (std::uint32_t n = 0; n < owners; ++n) {
            if (after.lives[n] == model_.lives[n]) continue;
            for (auto& [key, held] : after.held) held[n] = 0;
        }
        after.lives = model_.lives;
        for (const char* key : {"a", "b", "c"})
            if (value_in(after, key) != value_in(model_, key))
                history_.emplace_back(key, value_in(after, key));
        pending_ = Pending{id, row, false, std::move(after)};
        if (random(8) == 0) {  // or not at all
            pending_.reset();
            return;
        }
        require(transaction.commit().has_value(), "a transaction is not committed");
        if (pending_ && pending_->id == id) apply();
    }
    static Text value_in(const Model& model, const std::string& key) {
        const auto found = model.map.find(key);
        return found == model.map.end() ? Text{} : Text{found->second};
    }

    void operate(std::uint32_t row) {
        if (!views_[row]) views_[row].emplace(make(*pools_[row]));
        const Views& views = *views_[row];
        switch (random(8)) {
            case 0:
                return look_up(views);
            case 1: {
                std::uint32_t cursor = 0;
                const std::uint64_t before = deaths_;
                for (int n = 0; n < 8; ++n) {
                    const Result<bool> done = views.connections.heal_some(cursor);
                    require(done.has_value(), "not healed");
                    if (!*done) continue;
                    for (auto& [key, dead] : dead_)
                        std::erase_if(dead, [&](const auto& one) { return one.first < before; });
                    return;
                }
                return;
            }
            default:
                break;
        }
        Transaction transaction = begin(row);
        now_ += std::chrono::milliseconds{random(20)};
        Model after = model_;
        for (std::uint64_t n = 1 + random(2); n > 0; --n) change(row, views, transaction, after);
        commit(row, std::move(transaction), std::move(after));
    }

    // Without the lock: what was there at some moment since it began to look.
    void look_up(const Views& views) {
        const std::string key = name();
        const std::size_t since = history_.size();
        std::vector<Text> right{value_in(model_, key)};
        if (pending_) right.push_back(value_in(pending_->after, key));
        const Result<Text> found = views.map.get(key);
        require(found.has_value(), "not looked up");
        for (std::size_t n = since; n < history_.size(); ++n)
            if (history_[n].first == key) right.push_back(history_[n].second);
        require(std::ranges::find(right, *found) != right.end(),
                "looked up " + key + ", which was never " + found->value_or("gone"));
    }

    void change(std::uint32_t row, const Views& views, Transaction& transaction, Model& after) {
        switch (random(6)) {
            case 0:
                return change_map(views, transaction, after);
            case 1:
                return change_cache(views, transaction, after);
            case 2:
                return change_queue(views, transaction, after);
            case 3:
                return take(views, transaction, after);
            case 4:
                return connect(row, views, transaction, after);
            default:
                return allocate(transaction, after);
        }
    }
    void change_map(const Views& views, Transaction& transaction, Model& after) {
        const std::string key = name();
        const std::string value = content();
        switch (random(3)) {
            case 0:
                require(views.map.erase(transaction, key) == (after.map.erase(key) != 0), "erase");
                return;
            case 1:
                require(views.map.get(transaction, key).value() == value_in(after, key), "find");
                return;
            default:
                require(views.map.put(transaction, key, value).has_value(), "put");
                after.map[key] = value;
        }
    }
    void change_cache(const Views& views, Transaction& transaction, Model& after) {
        const std::string key = name();
        const auto place =
            std::ranges::find(after.cache, key, &std::pair<std::string, std::string>::first);
        const bool there = place != after.cache.end();
        const auto cost = [](const auto& one) {
            return Cache::cost(one.first.size(), one.second.size());
        };
        switch (random(3)) {
            case 0:
                require(views.cache.erase(transaction, key) == there, "erase of a cache");
                if (there) after.cache.erase(place);
                return;
            case 1:
                require(views.cache.get(transaction, key) == (there ? Text{place->second} : Text{}),
                        "get of a cache");
                if (there) std::rotate(after.cache.begin(), place, place + 1);
                return;
            default:
                break;
        }
        const std::pair<std::string, std::string> made{key, content()};
        std::uint64_t used = cost(made) - (there ? cost(*place) : 0);
        for (const auto& one : after.cache) used += cost(one);
        const Result<bool> put = views.cache.put(transaction, made.first, made.second);
        require(put.has_value() && *put == (used <= budget), "put into a cache");
        if (!*put) return after.cache.pop_back();
        if (there) after.cache.erase(place);
        after.cache.insert(after.cache.begin(), made);
    }
    void change_queue(const Views& views, Transaction& transaction, Model& after) {
        if (random(2) == 0) {
            const auto message = views.queue.pop(transaction);
            require(message.has_value() != after.queue.empty(), "pop");
            if (!message) return;
            require(string_of(*message) == after.queue.front(), "pop of another message");
            return after.queue.pop_front();
        }
        const std::string message = content().substr(0, 40);
        const Result<void> pushed = views.queue.push(transaction, bytes_of(message));
        if (pushed) after.queue.push_back(message);
    }
    void take(const Views& views, Transaction& transaction, Model& after) {
        const std::string key = name();
        const std::uint64_t wanted = 1 + random(rate.burst);
        const bool there = tokens_in(after, key, now_) >= wanted;
        const auto verdict = views.rates.take(transaction, key, rate, now_, wanted);
        require(verdict.has_value() && verdict->allowed == there, "tokens");
        if (there)
            after.full[key] = std::max(after.full[key], now_) + token * static_cast<int>(wanted);
    }
    void connect(std::uint32_t row, const Views& views, Transaction& transaction, Model& after) {
        const std::string key = name();
        std::uint64_t& own = after.held[key][row];
        if (random(2) == 0) {
            require(views.connections.release(transaction, key).has_value() == (own > 0),
                    "release");
            if (own > 0) --own;
            return;
        }
        std::uint64_t living = 0;
        for (const std::uint64_t held : after.held[key]) living += held;
        std::uint64_t dead = 0;
        for (const auto& one : dead_[key]) dead += one.second;
        const auto counted = views.connections.acquire(transaction, key, most_held);
        require(counted.has_value(), "acquire");
        require(*counted ? living < most_held : living + dead >= most_held, "a limit");
        if (*counted) ++own;
    }
    void allocate(Transaction& transaction, Model& after) {
        if (after.blocks.size() == most_blocks || (!after.blocks.empty() && random(2) == 0)) {
            const auto block = std::next(after.blocks.begin(),
                                         static_cast<std::ptrdiff_t>(random(after.blocks.size())));
            // One of this transaction's own as well.
            require(transaction.free(block->first).has_value(), "free");
            after.blocks.erase(block);
            return;
        }
        const std::string content = "block " + std::to_string(operations_) + '.';
        const Offset block =
            transaction.allocate(content.size() + random(random(8) == 0 ? 9'000 : 100));
        require(block != 0 && !after.blocks.contains(block), "allocate");
        transaction.write(block, bytes_of(content));
        after.blocks.emplace(block, content);
    }

    Zone zone_;
    Pool keeper_;
    fibers::Fibers fibers_;
    std::array<std::optional<Pool>, owners> pools_;
    std::array<std::optional<Views>, owners> views_;
    Model model_;
    std::optional<Pending> pending_;
    bool unresolved_ = false;
    std::vector<std::pair<std::string, Text>> history_;  // of the map
    std::map<std::string, std::vector<std::pair<std::uint64_t, std::uint64_t>>> dead_;
    std::uint64_t deaths_ = 0;
    std::uint64_t operations_ = 0;
    Instant now_{std::chrono::seconds{1}};
};

}  // namespace

TEST_CASE("owners that take turns at every store, and are killed there, do whole transactions") {
    const auto all = fibers::run_worlds<World>(40 * steps::effort(), 100'000,
                                               [](World& world) { world.look_at_the_end(); });
    INFO(all.steps << " steps, " << all.kills << " kills, " << all.sleeps << " sleeps");
    CHECK(all.kills > all.worlds * 10);
    CHECK(all.sleeps > all.worlds * 10);
}
