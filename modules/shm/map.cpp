module;
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {

namespace {

constexpr Word map_tag = 0x322f'7061'6d66'7220;  // " rfmap/2"
// A value of up to so many words is changed in place, through the journal.
constexpr std::size_t words_in_place = 8;

constexpr Word last_moment = static_cast<Word>(Instant::max().time_since_epoch().count());

const Word* words_of(ByteView key) {
    return reinterpret_cast<const Word*>(key.data());
}

}  // namespace

// A moment before the clock's beginning has passed already, and is not `never`.
Word expires_word(Instant expires) noexcept {
    const auto count = expires.time_since_epoch().count();
    return count < 0 ? 1 : static_cast<Word>(count);
}

Word random_word() noexcept {
#ifdef RINGFORT_SHM_STEPS
    return 0x9e37'79b9'7f4a'7c15;  // what is found with a seed is found again with it
#endif
    Word word = 0;
    if (::getrandom(&word, sizeof word, GRND_NONBLOCK) != sizeof word)
        word = static_cast<Word>(now().time_since_epoch().count()) * 0x9e37'79b9'7f4a'7c15;
    return word;
}

Result<Map> Map::obtain(const Pool& pool, std::uint32_t number, std::uint32_t buckets, Word schema,
                        Obtain how) {
    const Word seed = how == Obtain::open ? 0 : random_word();
    return shm::obtain<Map>(
        pool, number, map_tag, how,
        [&](Transaction& transaction) -> Result<Map> {
            RF_LET(const Map made, make(pool, transaction, {buckets, seed, schema}));
            pool.set_root(transaction, number, map_tag, made.header_);
            return made;
        },
        [&](Transaction& transaction, Offset block) {
            return at(pool, transaction, block, schema);
        });
}

Result<Map> Map::at(const Pool& pool, Transaction& transaction, Offset block, Word schema) {
    if (get(transaction.at<Header>(block).schema) != schema)
        return Error{"open a map: its entries", std::errc::protocol_error};
    return found(pool, transaction, block, 0);
}

Result<Map> Map::open(const Pool& pool, Transaction& transaction, std::uint32_t number,
                      Word schema) {
    RF_LET(const Offset block, pool.root(transaction, number, map_tag));
    if (block == 0) return Error{"open a map: none", std::errc::no_such_file_or_directory};
    return at(pool, transaction, block, schema);
}

Result<Map> Map::create(const Pool& pool, std::uint32_t number, MapOptions options, Word schema) {
    return obtain(pool, number, options.buckets, schema, Obtain::make);
}

Result<Map> Map::open(const Pool& pool, std::uint32_t number, Word schema) {
    return obtain(pool, number, 1, schema, Obtain::open);
}

Result<Map> Map::open_or_create(const Pool& pool, std::uint32_t number, MapOptions options,
                                Word schema) {
    return obtain(pool, number, options.buckets, schema, Obtain::either);
}

Result<Map> Map::make(const Pool& pool, Transaction& transaction, Plan plan) noexcept {
    if (plan.buckets == 0 || plan.buckets > limits::max_map_buckets)
        return Error{"make a map: buckets", std::errc::invalid_argument};
    const std::uint32_t buckets = std::bit_ceil(plan.buckets);
    const Offset at = transaction.allocate(sizeof(Header));
    const Offset table = transaction.allocate(buckets * sizeof(Word));
    if (at == 0 || table == 0) return Error{"make a map", std::errc::not_enough_memory};
    for (std::uint32_t n = 0; n < buckets; ++n)
        transaction.init(transaction.at<Word>(table + n * sizeof(Word)), 0);
    Header& made = transaction.at<Header>(at);
    transaction.init(made.table, table);
    transaction.init(made.buckets, buckets);
    transaction.init(made.seed, plan.seed);
    transaction.init(made.size, 0);
    transaction.init(made.swept, 0);
    transaction.init(made.schema, plan.schema);
    return Map{pool, at, table, buckets, plan.seed, plan.extra};
}

Map Map::found(const Pool& pool, Transaction& transaction, Offset at,
               std::uint32_t extra) noexcept {
    const Header& found = transaction.at<Header>(at);
    const Offset table = get(found.table);
    const Word buckets = get(found.buckets);
    if (!std::has_single_bit(buckets) || buckets > limits::max_map_buckets ||
        table % sizeof(Word) != 0 || transaction.bytes(table, buckets * sizeof(Word)).empty())
        transaction.fail();
    return Map{pool, at, table, static_cast<std::uint32_t>(buckets), get(found.seed), extra};
}

Map::Header& Map::header(Transaction& transaction) const noexcept {
    return transaction.at<Header>(header_);
}

Word& Map::bucket(Transaction& transaction, std::uint64_t number) const noexcept {
    return transaction.at<Word>(table_ + (number & (buckets_ - 1)) * sizeof(Word));
}

Offset Map::first(Transaction& transaction, std::uint32_t number) const noexcept {
    return get(bucket(transaction, number));
}

Map::Entry Map::read(Transaction& transaction, Offset at) const noexcept {
    const Node& node = transaction.at<Node>(at);
    const Word sizes = get(node.sizes);
    const std::uint64_t key = sizes >> 32;
    const std::uint64_t value = sizes & 0xffff'ffff;
    return {at,
            get(node.next),
            get(node.hash),
            get(node.expires),
            transaction.bytes(at + key_at_, key),
            transaction.bytes(at + key_at_ + aligned_to_words(key), value)};
}

// How many entries a chain can have: one more, and it goes in a circle.
std::uint64_t Map::bound(Transaction& transaction) const noexcept {
    return std::min<std::uint64_t>(size(transaction), limits::max_map_buckets) + 1;
}

Map::Place Map::look_up(Transaction& transaction, ByteView key) const noexcept {
    const Word hash = hash_of(key, seed_);
    Word* link = &bucket(transaction, hash);
    std::uint64_t left = 0;
    for (Offset at = get(*link); at != 0;) {
        Node& node = transaction.at<Node>(at);
        if (get(node.hash) == hash) {
            const Entry entry = read(transaction, at);
            if (entry.key.size() == key.size() && begin_with(words_of(entry.key), key))
                return {link, entry};
        }
        if (left == 0) left = bound(transaction);
        if (--left == 0) {
            transaction.fail();
            break;
        }
        link = &node.next;
        at = get(node.next);
    }
    return {&bucket(transaction, hash), Entry{.hash = hash}};
}

// As `look_up`, of what may be changing.
Map::Sight Map::see(Glance& glance, ByteView key, Instant now) const noexcept {
    const Word hash = hash_of(key, seed_);
    const Offset place = table_ + (hash & (buckets_ - 1)) * sizeof(Word);
    std::uint64_t left = 0;
    for (Offset at = get(glance.at<Word>(place)); at != 0;) {
        const Node& node = glance.at<Node>(at);
        const Word sizes = get(node.sizes);
        if (get(node.hash) == hash && sizes >> 32 == key.size()) {
            const std::uint64_t value = sizes & 0xffff'ffff;
            const std::uint64_t before = aligned_to_words(key.size());
            const Word* words = glance.words(at + key_at_, before + value);
            if (words != nullptr && begin_with(words, key))
                return expired(get(node.expires), now)
                           ? Sight{}
                           : Sight{words + before / sizeof(Word), value};
        }
        if (left == 0)
            left =
                std::min<Word>(get(glance.at<Header>(header_).size), limits::max_map_buckets) + 1;
        if (--left == 0) glance.fail();
        if (!glance.holds()) break;
        at = get(node.next);
    }
    return {};
}

std::optional<ByteView> Map::find(Transaction& transaction, ByteView key,
                                  Instant now) const noexcept {
    const Place place = look_up(transaction, key);
    if (place.entry.at == 0 || place.entry.expired(now)) return std::nullopt;
    return place.entry.value;
}

std::optional<Instant> Map::expiry(Transaction& transaction, ByteView key,
                                   Instant now) const noexcept {
    const Place place = look_up(transaction, key);
    if (place.entry.at == 0 || place.entry.expired(now)) return std::nullopt;
    if (place.entry.expires > last_moment) {
        transaction.fail();
        return std::nullopt;
    }
    return Instant{std::chrono::nanoseconds{place.entry.expires}};
}

Result<void> Map::put(Transaction& transaction, ByteView key, ByteView value,
                      Instant expires) const noexcept {
    const Place place = look_up(transaction, key);
    const Entry& found = place.entry;
    if (found.at != 0 && overwrite(transaction, found, value, expires_word(expires))) return {};
    const Offset next = found.at != 0 ? found.next : get(*place.link);
    const Offset made = add(transaction, key, value, found.hash, expires_word(expires), next);
    if (made == 0) return Error{"put into a map", std::errc::not_enough_memory};
    transaction.set(*place.link, made);
    if (found.at != 0)
        transaction.release(found.at);
    else
        count_one_more(transaction);
    return {};
}

void Map::count_one_more(Transaction& transaction) const noexcept {
    transaction.set(header(transaction).size, size(transaction) + 1);
}

bool Map::overwrite(Transaction& transaction, const Entry& entry, ByteView value,
                    Word expires) const noexcept {
    if (entry.value.size() != value.size() || value.size() > words_in_place * sizeof(Word))
        return false;
    const Offset begin = entry.at + key_at_ + aligned_to_words(entry.key.size());
    std::size_t at = 0;
    for (; at + sizeof(Word) <= value.size(); at += sizeof(Word))
        transaction.set(transaction.at<Word>(begin + at), load<Word>(value, at));
    if (at < value.size()) transaction.set(transaction.at<Word>(begin + at), tail_of(value));
    if (entry.expires != expires) transaction.set(transaction.at<Node>(entry.at).expires, expires);
    return true;
}

Offset Map::add(Transaction& transaction, ByteView key, ByteView value, Word hash, Word expires,
                Offset next) const noexcept {
    // Each alone first: their sum must not wrap.
    if (key.size() > limits::max_map_entry || value.size() > limits::max_map_entry - key.size())
        return 0;
    const Offset at = transaction.allocate(key_at_ + aligned_to_words(key.size()) +
                                           aligned_to_words(value.size()));
    if (at == 0) return 0;
    Node& node = transaction.at<Node>(at);
    transaction.init(node.next, next);
    transaction.init(node.hash, hash);
    transaction.init(node.expires, expires);
    transaction.init(node.sizes, Word{key.size()} << 32 | value.size());
    transaction.write(at + key_at_, key);
    transaction.write(at + key_at_ + aligned_to_words(key.size()), value);
    return at;
}

bool Map::erase(Transaction& transaction, ByteView key) const noexcept {
    const Place place = look_up(transaction, key);
    if (place.entry.at == 0) return false;
    remove(transaction, place);
    return true;
}

void Map::remove(Transaction& transaction, const Place& place) const noexcept {
    transaction.set(*place.link, place.entry.next);
    transaction.set(header(transaction).size, size(transaction) - 1);
    transaction.release(place.entry.at);
}

std::uint32_t Map::expire(Transaction& transaction, Instant now) const noexcept {
    Header& head = header(transaction);
    std::uint64_t number = get(head.swept);
    std::uint32_t removed = 0;
    std::uint64_t left = bound(transaction);
    for (std::uint32_t n = 0; n < std::min(limits::map_sweep_buckets, buckets_); ++n) {
        Word* link = &bucket(transaction, number);
        while (get(*link) != 0 && left > 0) {
            const Entry entry = read(transaction, get(*link));
            --left;
            if (!entry.expired(now)) {
                link = &transaction.at<Node>(entry.at).next;
                continue;
            }
            if (removed == limits::map_sweep_entries) break;  // the next call goes on here
            remove(transaction, {link, entry});
            ++removed;
        }
        if (left == 0) transaction.fail();
        if (removed == limits::map_sweep_entries || transaction.failed()) break;
        ++number;
    }
    transaction.set(head.swept, number & (buckets_ - 1));
    return removed;
}

std::uint64_t Map::size(Transaction& transaction) const noexcept {
    return get(header(transaction).size);
}

Result<std::uint64_t> expire_all(const Map& map, Instant now) {
    std::uint64_t all = 0;
    for (std::uint32_t swept = 0; swept < map.buckets();) {
        std::uint32_t removed = 0;
        RF_TRY(transact(map.pool(), [&](Transaction& transaction) -> Result<void> {
            removed = map.expire(transaction, now);
            return {};
        }));
        all += removed;
        if (removed < limits::map_sweep_entries) swept += limits::map_sweep_buckets;
    }
    return all;
}

}  // namespace ringfort::shm
