module;
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr Word cache_tag = 0x3268'6361'6366'7220;  // " rfcach2"

}  // namespace

Result<Cache> Cache::obtain(const Pool& pool, std::uint32_t number, CacheOptions options,
                            Obtain how) {
    const Word seed = how == Obtain::open ? 0 : random_word();
    return shm::obtain<Cache>(
        pool, number, cache_tag, how,
        [&](Transaction& transaction) -> Result<Cache> {
            RF_LET(const Map map,
                   Map::make(pool, transaction, {options.buckets, seed, cache_tag, sizeof(Uses)}));
            const Offset at = transaction.allocate(sizeof(Header));
            if (at == 0) return Error{"make a cache", std::errc::not_enough_memory};
            Header& made = transaction.at<Header>(at);
            transaction.init(made.map, map.header_);
            transaction.init(made.budget, options.budget.count);
            for (Word* word : {&made.used, &made.newest, &made.oldest, &made.forgotten})
                transaction.init(*word, 0);
            pool.set_root(transaction, number, cache_tag, at);
            return Cache{map, at};
        },
        [&](Transaction& transaction, Offset at) -> Result<Cache> {
            const Offset map = shm::get(transaction.at<Header>(at).map);
            return Cache{Map::found(pool, transaction, map, sizeof(Uses)), at};
        });
}

Result<Cache> Cache::create(const Pool& pool, std::uint32_t number, CacheOptions options) {
    return obtain(pool, number, options, Obtain::make);
}

Result<Cache> Cache::open(const Pool& pool, std::uint32_t number) {
    return obtain(pool, number, {}, Obtain::open);
}

Result<Cache> Cache::open_or_create(const Pool& pool, std::uint32_t number, CacheOptions options) {
    return obtain(pool, number, options, Obtain::either);
}

Cache::Header& Cache::header(Transaction& transaction) const noexcept {
    return transaction.at<Header>(header_);
}

void Cache::link(Transaction& transaction, Offset at) const noexcept {
    Header& head = header(transaction);
    const Offset newest = shm::get(head.newest);
    transaction.set(uses(transaction, at).older, newest);
    transaction.set(uses(transaction, at).newer, 0);
    if (newest != 0)
        transaction.set(uses(transaction, newest).newer, at);
    else
        transaction.set(head.oldest, at);
    transaction.set(head.newest, at);
}

void Cache::unlink(Transaction& transaction, Offset at) const noexcept {
    Header& head = header(transaction);
    const Offset newer = shm::get(uses(transaction, at).newer);
    const Offset older = shm::get(uses(transaction, at).older);
    transaction.set(newer != 0 ? uses(transaction, newer).older : head.newest, older);
    transaction.set(older != 0 ? uses(transaction, older).newer : head.oldest, newer);
}

void Cache::remove(Transaction& transaction, const Map::Place& place) const noexcept {
    Header& head = header(transaction);
    const std::uint64_t freed = cost(place.entry.key.size(), place.entry.value.size());
    if (shm::get(head.used) < freed) return transaction.fail();
    transaction.set(head.used, shm::get(head.used) - freed);
    unlink(transaction, place.entry.at);
    map_.remove(transaction, place);
}

bool Cache::forget_oldest(Transaction& transaction) const noexcept {
    const Offset oldest = shm::get(header(transaction).oldest);
    if (oldest == 0) return false;
    const Map::Entry entry = map_.read(transaction, oldest);
    const Map::Place place = map_.look_up(transaction, entry.key);
    if (place.entry.at != oldest) {
        transaction.fail();
        return false;
    }
    remove(transaction, place);
    Word& count = header(transaction).forgotten;
    transaction.set(count, shm::get(count) + 1);
    return true;
}

std::optional<std::string> Cache::get(Transaction& transaction, std::string_view key,
                                      Instant now) const {
    const Map::Place place = map_.look_up(transaction, bytes_of(key));
    if (place.entry.at == 0 || place.entry.expired(now)) return std::nullopt;
    if (shm::get(header(transaction).newest) != place.entry.at) {
        unlink(transaction, place.entry.at);
        link(transaction, place.entry.at);
    }
    return value_of<std::string>(place.entry.value);
}

Result<std::optional<std::string>> Cache::get(std::string_view key, Instant now) const {
    using Value = std::optional<std::string>;
    return transact(map_.pool(), [&](Transaction& transaction) -> Result<Value> {
        return get(transaction, key, now);
    });
}

Result<void> Cache::put(std::string_view key, std::string_view value, Instant expires) const {
    for (;;) {
        RF_LET(const bool done, transact(map_.pool(), [&](Transaction& transaction) {
                   return put(transaction, key, value, expires);
               }));
        if (done) return {};
    }
}

// Either puts, or forgets something, so that the next attempt has more room.
Result<bool> Cache::put(Transaction& transaction, std::string_view name, std::string_view content,
                        Instant expires) const noexcept {
    const ByteView key = bytes_of(name);
    const ByteView value = bytes_of(content);
    Header& head = header(transaction);
    const std::uint64_t budget = shm::get(head.budget);
    const std::uint64_t needed = cost(key.size(), value.size());
    if (needed > budget || value.size() > limits::max_map_entry ||
        key.size() > limits::max_map_entry - value.size())
        return Error{"put into a cache", std::errc::message_size};
    const Map::Place place = map_.look_up(transaction, key);
    const Map::Entry& found = place.entry;
    const std::uint64_t before = found.at == 0 ? 0 : cost(found.key.size(), found.value.size());
    const std::uint64_t used = shm::get(head.used);
    if (used < before || used > budget) {
        transaction.fail();
        return true;
    }
    if (used - before + needed > budget) {
        if (!forget_oldest(transaction)) transaction.fail();
        return transaction.failed();
    }
    const Word moment = expires_word(expires);
    if (found.at != 0 && map_.overwrite(transaction, found, value, moment)) {
        unlink(transaction, found.at);
        link(transaction, found.at);
        return true;
    }
    const Offset next = found.at != 0 ? found.next : shm::get(*place.link);
    const Offset made = map_.add(transaction, key, value, found.hash, moment, next);
    if (made == 0) {
        if (forget_oldest(transaction)) return false;
        return Error{"put into a cache", std::errc::not_enough_memory};
    }
    transaction.set(*place.link, made);
    if (found.at != 0) unlink(transaction, found.at);
    link(transaction, made);
    transaction.set(head.used, used - before + needed);
    if (found.at != 0)
        transaction.release(found.at);
    else
        map_.count_one_more(transaction);
    return true;
}

bool Cache::erase(Transaction& transaction, std::string_view key) const noexcept {
    const Map::Place place = map_.look_up(transaction, bytes_of(key));
    if (place.entry.at == 0) return false;
    remove(transaction, place);
    return true;
}

Result<bool> Cache::erase(std::string_view key) const {
    return transact(map_.pool(), [&](Transaction& transaction) -> Result<bool> {
        return erase(transaction, key);
    });
}

Result<Word> Cache::read(Word Header::* field) const {
    return transact(map_.pool(), [&](Transaction& transaction) -> Result<Word> {
        return shm::get(header(transaction).*field);
    });
}

Result<Bytes> Cache::used() const {
    RF_LET(const Word used, read(&Header::used));
    return Bytes{used};
}

Result<std::uint64_t> Cache::size() const {
    return transact(map_.pool(), [&](Transaction& transaction) -> Result<std::uint64_t> {
        return map_.size(transaction);
    });
}

Result<std::uint64_t> Cache::forgotten() const {
    return read(&Header::forgotten);
}

}  // namespace ringfort::shm
