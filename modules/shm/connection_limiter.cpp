// Two kinds of entries in one map: for each key how many are held, and for each key and owner how
// many that one holds. Both change in one transaction, so the first is always the sum of the
// second.
module;
#include <algorithm>
#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr Owner everybody{~0U, ~0U};

// An owner, or everybody, and the key.
class CountKey {
public:
    CountKey(Owner owner, std::string_view key) : size_{sizeof owner + key.size()} {
        std::memcpy(bytes_.data(), &owner, sizeof owner);
        std::copy(key.begin(), key.end(), reinterpret_cast<char*>(bytes_.data()) + sizeof owner);
    }
    operator ByteView() const { return std::span{bytes_}.first(size_); }

private:
    std::array<std::byte, sizeof(Owner) + limits::max_limited_key> bytes_;
    std::size_t size_;
};

std::uint64_t read(const Map& map, Transaction& transaction, const CountKey& key) {
    const std::optional<ByteView> found = map.find(transaction, key, {});
    if (!found) return 0;
    const std::optional<Word> count = value_of<Word>(*found);
    if (!count) transaction.fail();
    return count.value_or(0);
}

Result<void> check(std::string_view key) {
    if (key.size() <= limits::max_limited_key) return {};
    return Error{"limit connections: key", std::errc::invalid_argument};
}

}  // namespace

Result<bool> ConnectionLimiter::acquire(std::string_view key, std::uint64_t limit) const {
    return transact(map_.pool(),
                    [&](Transaction& transaction) { return acquire(transaction, key, limit); });
}

Result<void> ConnectionLimiter::release(std::string_view key) const {
    return transact(map_.pool(),
                    [&](Transaction& transaction) { return release(transaction, key); });
}

Result<std::uint64_t> ConnectionLimiter::count(std::string_view key) const {
    return transact(map_.pool(), [&](Transaction& transaction) { return count(transaction, key); });
}

Result<bool> ConnectionLimiter::acquire(Transaction& transaction, std::string_view key,
                                        std::uint64_t limit) const {
    RF_TRY(check(key));
    const CountKey all{everybody, key};
    const std::uint64_t held = read(map_, transaction, all);
    if (held >= limit) return false;
    const CountKey own{map_.pool().self(), key};
    const std::uint64_t own_held = read(map_, transaction, own);
    RF_TRY(map_.put(transaction, all, bytes_of(held + 1)));
    const Result<void> counted = map_.put(transaction, own, bytes_of(own_held + 1));
    if (counted) return true;
    // The caller may commit the rest of its transaction.
    if (held == 0)
        map_.erase(transaction, all);
    else
        RF_TRY(map_.put(transaction, all, bytes_of(held)));
    return counted.error();
}

Result<void> ConnectionLimiter::release(Transaction& transaction, std::string_view key) const {
    RF_TRY(check(key));
    return give_back(transaction, map_.pool().self(), key, 1);
}

Result<std::uint64_t> ConnectionLimiter::count(Transaction& transaction,
                                               std::string_view key) const {
    RF_TRY(check(key));
    return read(map_, transaction, CountKey{everybody, key});
}

Result<void> ConnectionLimiter::give_back(Transaction& transaction, Owner owner,
                                          std::string_view key, std::uint64_t amount) const {
    const CountKey all{everybody, key};
    const CountKey own{owner, key};
    const std::uint64_t own_held = read(map_, transaction, own);
    if (own_held < amount)
        return Error{"give back a connection", std::errc::no_such_file_or_directory};
    const std::uint64_t held = read(map_, transaction, all);
    if (held < own_held) {
        transaction.fail();
        return {};
    }
    // What is overwritten allocates nothing.
    if (held != amount) RF_TRY(map_.put(transaction, all, bytes_of(held - amount)));
    if (own_held != amount) RF_TRY(map_.put(transaction, own, bytes_of(own_held - amount)));
    if (own_held == amount) map_.erase(transaction, own);
    if (held == amount) map_.erase(transaction, all);
    return {};
}

Result<std::uint64_t> ConnectionLimiter::heal() const {
    std::uint64_t given_back = 0;
    for (std::uint32_t bucket = 0; bucket < map_.buckets(); ++bucket) {
        for (;;) {
            RF_LET(const std::uint64_t some, transact(map_.pool(), [&](Transaction& transaction) {
                       return heal_bucket(transaction, bucket);
                   }));
            if (some == 0) break;
            given_back += some;
        }
    }
    return given_back;
}

Result<bool> ConnectionLimiter::heal_some(std::uint32_t& cursor) const {
    RF_LET(std::optional<Transaction> transaction, map_.pool().try_begin());
    if (!transaction) return false;
    std::uint32_t next = cursor;
    RF_LET(const bool through, heal_part(*transaction, next));
    RF_TRY(transaction->commit());
    cursor = next;
    return through;
}

Result<bool> ConnectionLimiter::heal_part(Transaction& transaction, std::uint32_t& cursor) const {
    for (std::uint32_t n = 0; n < limits::map_sweep_buckets && cursor < map_.buckets(); ++n) {
        RF_LET(const std::uint64_t some, heal_bucket(transaction, cursor));
        if (some != 0) break;  // a transaction has no room for more, and the bucket may hold more
        ++cursor;
    }
    return cursor >= map_.buckets();
}

// A few of what is held in a bucket; 0: nothing any more.
Result<std::uint64_t> ConnectionLimiter::heal_bucket(Transaction& transaction,
                                                     std::uint32_t bucket) const {
    struct Held {
        Owner owner;
        std::string key;
        std::uint64_t amount;
    };
    const Owners owners = map_.pool().owners();
    std::vector<Held> dead;
    map_.visit(transaction, bucket, {}, [&](ByteView key, ByteView value) {
        if (dead.size() == limits::map_sweep_entries || key.size() < sizeof(Owner)) return;
        const Owner owner = value_of<Owner>(key.first(sizeof(Owner))).value_or(everybody);
        if (owner == everybody || owners.alive(owner)) return;
        const ByteView rest = key.subspan(sizeof(Owner));
        if (rest.size() > limits::max_limited_key) return transaction.fail();
        dead.push_back(
            {owner, value_of<std::string>(rest).value_or(""), value_of<Word>(value).value_or(0)});
    });
    std::uint64_t given_back = 0;
    for (const Held& held : dead) {
        if (held.amount == 0) transaction.fail();  // it would not have been kept
        if (transaction.failed()) break;
        if (!give_back(transaction, held.owner, held.key, held.amount)) transaction.fail();
        given_back += held.amount;
    }
    return given_back;
}

}  // namespace ringfort::shm
