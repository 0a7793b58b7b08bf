export module ringfort.shm:map;

import ringfort.base;
import ringfort.std;
import :glance;
import :journal;
import :key;
import :pool;
import :word;

export namespace ringfort::shm {

/// Bytes that somebody else keeps, of a key or a value.
using ByteView = std::span<const std::byte>;

/// The moment that never comes: of entries that do not expire.
inline constexpr Instant never{};

/// How a map is made.
struct MapOptions {
    /// As many as entries are expected: lookups take longer with more of these than buckets.
    /// Rounded up to a power of two, up to `limits::max_map_buckets`; fixed for the map's life.
    std::uint32_t buckets = 1'024;
};

/// What can be a key of a `MapOf`: text, or something whose bytes say all of its value.
template <class T>
concept MapKey =
    std::same_as<T, std::string> || (Storable<T> && std::has_unique_object_representations_v<T>);
/// What can be a value of a `MapOf`.
template <class T>
concept MapValue = std::same_as<T, std::string> || Storable<T>;

template <MapKey Key, MapValue Value>
class MapOf;

/// A hash map in a pool: keys and values are bytes, entries may expire. All of it happens within a
/// transaction of the caller, so that operations on several structures can be one: those that begin
/// their own are in `MapOf`. Time is the caller's, on the monotonic clock, which all processes
/// share.
///
/// A view: valid as long as the pool it was made or opened with. Cheap to copy.
class Map {
public:
    /// Makes an empty map as structure `number` of the pool. `schema` says what its entries are,
    /// by a number that the caller chooses. Errors: EEXIST if there is one already; EPROTO if
    /// something else is; EINVAL for a number not below `limits::pool_roots`, or for no buckets or
    /// too many; ENOMEM; those of `Pool::begin`.
    [[nodiscard]] static Result<Map> create(const Pool& pool, std::uint32_t number,
                                            MapOptions options = {}, Word schema = 0);
    /// Opens the map that is structure `number`. Errors: ENOENT if there is none; EPROTO if it is
    /// something else, or was made with another schema; EBADMSG if it is corrupted; those of
    /// `Pool::begin`.
    [[nodiscard]] static Result<Map> open(const Pool& pool, std::uint32_t number, Word schema = 0);
    /// As above, within a transaction.
    [[nodiscard]] static Result<Map> open(const Pool& pool, Transaction& transaction,
                                          std::uint32_t number, Word schema = 0);
    /// Opens the map that is structure `number`, or makes it if there is none: for several
    /// processes that do the same, one of which makes it. Errors: those of `create` but EEXIST;
    /// EBADMSG.
    [[nodiscard]] static Result<Map> open_or_create(const Pool& pool, std::uint32_t number,
                                                    MapOptions options = {}, Word schema = 0);

    /// Finds the value of a key, unless it has expired at `now`. The bytes are the pool's: valid
    /// until the transaction ends or changes the entry.
    [[nodiscard]] std::optional<ByteView> find(Transaction& transaction, ByteView key,
                                               Instant now) const noexcept;
    /// Tells when the entry of a key expires, unless it has: `never` for one that does not.
    [[nodiscard]] std::optional<Instant> expiry(Transaction& transaction, ByteView key,
                                                Instant now) const noexcept;

    /// Sets the value of a key, be it there or not. Error: ENOMEM if there is no block for it, up
    /// to `limits::max_map_entry` bytes; nothing has changed then.
    [[nodiscard]] Result<void> put(Transaction& transaction, ByteView key, ByteView value,
                                   Instant expires = never) const noexcept;
    /// Removes a key; returns whether it was there, expired or not. What its entry took is there
    /// for others when the transaction is committed; see `Transaction::free`.
    bool erase(Transaction& transaction, ByteView key) const noexcept;
    /// Goes through the next `limits::map_sweep_buckets` buckets and removes what has expired at
    /// `now`, but at most `limits::map_sweep_entries`; returns how many it has removed. As `erase`.
    std::uint32_t expire(Transaction& transaction, Instant now) const noexcept;

    /// Returns the number of entries, expired ones that are still there included.
    [[nodiscard]] std::uint64_t size(Transaction& transaction) const noexcept;
    /// Returns the number of buckets.
    [[nodiscard]] std::uint32_t buckets() const noexcept { return buckets_; }
    /// Calls `visit(key, value)` for each entry of a bucket that has not expired at `now`; it must
    /// not change the map.
    template <class Visit>
    void visit(Transaction& transaction, std::uint32_t bucket, Instant now, Visit visit) const {
        std::uint64_t left = bound(transaction);
        for (Offset at = first(transaction, bucket); at != 0 && left > 0; --left) {
            const Entry entry = read(transaction, at);
            if (!entry.expired(now)) visit(entry.key, entry.value);
            at = entry.next;
        }
        if (left == 0) transaction.fail();
    }
    /// Returns the pool the map is in.
    [[nodiscard]] const Pool& pool() const noexcept { return pool_; }

private:
    friend class Cache;
    template <MapKey Key, MapValue Value>
    friend class MapOf;
    [[nodiscard]] static Result<Map> at(const Pool& pool, Transaction& transaction, Offset block,
                                        Word schema);

    struct Header {
        Word table;
        Word buckets;
        Word seed;
        Word size;
        Word swept;   // the bucket that `expire` goes on with
        Word schema;  // what its entries are
    };
    // An entry in a block: this, what a cache keeps besides, the key, the value, each aligned to a
    // word. A small one is in one cache line.
    struct Node {
        Word next;
        Word hash;
        Word expires;
        Word sizes;  // key << 32 | value
    };
    // An entry as it was found.
    struct Entry {
        Offset at = 0;
        Offset next = 0;
        Word hash = 0;
        Word expires = 0;
        ByteView key{};
        ByteView value{};

        [[nodiscard]] bool expired(Instant now) const noexcept {
            return Map::expired(expires, now);
        }
    };
    struct Place {
        Word* link;  // the word that refers to the entry, or would
        Entry entry;
    };
    // What a look without the lock has found, if it holds; no value: nothing.
    struct Sight {
        const Word* value = nullptr;
        std::uint64_t bytes = 0;
    };
    // What a map is made of: `extra` bytes of each entry are whose part it is.
    struct Plan {
        std::uint32_t buckets;
        Word seed;
        Word schema;
        std::uint32_t extra = 0;
    };

    // The same within a transaction, for structures of which a map is a part: at which block it
    // begins.
    [[nodiscard]] static Result<Map> make(const Pool& pool, Transaction& transaction,
                                          Plan plan) noexcept;
    [[nodiscard]] static Result<Map> obtain(const Pool& pool, std::uint32_t number,
                                            std::uint32_t buckets, Word schema, Obtain how);
    [[nodiscard]] static Map found(const Pool& pool, Transaction& transaction, Offset at,
                                   std::uint32_t extra) noexcept;

    Map(const Pool& pool, Offset header, Offset table, std::uint32_t buckets, Word seed,
        std::uint32_t extra) noexcept
        : pool_{pool},
          header_{header},
          table_{table},
          buckets_{buckets},
          key_at_{static_cast<std::uint32_t>(sizeof(Node)) + extra},
          seed_{seed} {}

    [[nodiscard]] static bool expired(Word expires, Instant now) noexcept {
        return expires != 0 && expires <= static_cast<Word>(now.time_since_epoch().count());
    }
    [[nodiscard]] Glance glance() const noexcept { return pool_.glance(); }
    [[nodiscard]] Sight see(Glance& glance, ByteView key, Instant now) const noexcept;
    [[nodiscard]] Header& header(Transaction& transaction) const noexcept;
    [[nodiscard]] Word& bucket(Transaction& transaction, std::uint64_t number) const noexcept;
    [[nodiscard]] Offset first(Transaction& transaction, std::uint32_t number) const noexcept;
    [[nodiscard]] Entry read(Transaction& transaction, Offset at) const noexcept;
    [[nodiscard]] std::uint64_t bound(Transaction& transaction) const noexcept;
    [[nodiscard]] Place look_up(Transaction& transaction, ByteView key) const noexcept;
    void remove(Transaction& transaction, const Place& place) const noexcept;
    void count_one_more(Transaction& transaction) const noexcept;
    bool overwrite(Transaction& transaction, const Entry& entry, ByteView value,
                   Word expires) const noexcept;
    Offset add(Transaction& transaction, ByteView key, ByteView value, Word hash, Word expires,
               Offset next) const noexcept;

    Pool pool_;
    // Copies, validated once.
    Offset header_;
    Offset table_;
    std::uint32_t buckets_;
    std::uint32_t key_at_;  // in an entry
    Word seed_;
};

/// Removes all entries that have expired, in many short transactions; returns how many. Errors:
/// those of `Pool::begin`; EBADMSG for a corrupted pool.
[[nodiscard]] Result<std::uint64_t> expire_all(const Map& map, Instant now);

/// Returns the bytes of a key or a value.
template <class T>
[[nodiscard]] ByteView bytes_of(const T& value) noexcept {
    if constexpr (std::convertible_to<const T&, std::string_view>) {
        return std::as_bytes(std::span{std::string_view{value}});
    } else {
        return std::as_bytes(std::span{&value, 1});
    }
}

/// Makes a value of its bytes; none of bytes that are not those of a `T`.
template <MapValue T>
[[nodiscard]] std::optional<T> value_of(ByteView bytes) {
    if constexpr (std::same_as<T, std::string>) {
        return std::string{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    } else {
        if (bytes.size() != sizeof(T)) return std::nullopt;
        std::array<std::byte, sizeof(T)> copy;
        std::memcpy(copy.data(), bytes.data(), sizeof(T));
        return std::bit_cast<T>(copy);
    }
}

/// A `Map` of typed keys and values, each of whose operations is a transaction of its own. The
/// sizes of both are noted with the map: one whose values have grown since, in a new version of a
/// server, is another map (EPROTO), and is not misread.
template <MapKey Key, MapValue Value>
class MapOf {
public:
    /// What a key is passed as.
    using KeyView = std::conditional_t<std::same_as<Key, std::string>, std::string_view, Key>;
    /// What a value is passed as.
    using ValueView = std::conditional_t<std::same_as<Value, std::string>, std::string_view, Value>;

    /// See the functions of the same name in `Map`.
    [[nodiscard]] static Result<MapOf> create(const Pool& pool, std::uint32_t number,
                                              MapOptions options = {}) {
        return typed(Map::create(pool, number, options, schema));
    }
    [[nodiscard]] static Result<MapOf> open(const Pool& pool, std::uint32_t number) {
        return typed(Map::open(pool, number, schema));
    }
    [[nodiscard]] static Result<MapOf> open_or_create(const Pool& pool, std::uint32_t number,
                                                      MapOptions options = {}) {
        return typed(Map::open_or_create(pool, number, options, schema));
    }

    /// Returns a copy of a key's value, if it is there and has not expired. Takes the pool's lock
    /// only if something in the pool is being changed meanwhile. Errors: those of `Pool::begin`;
    /// EBADMSG for a corrupted pool; EPROTO for a value of another size than `Value`'s, which
    /// `untyped` has put.
    [[nodiscard]] Result<std::optional<Value>> get(KeyView key, Instant now = {}) const {
        Glance glance = map_.glance();
        const Map::Sight seen = map_.see(glance, bytes_of(key), now);
        // A length that may be anything is none to make room for.
        const bool sized = size_of<Value> != 0 || glance.holds();
        std::optional<Value> value;
        if (sized && seen.value != nullptr) value = seen_value<Value>(seen);
        if (!sized || !glance.holds() || (seen.value != nullptr && !value)) [[unlikely]]
            return get_locked(key, now);
        return value;
    }
    /// Sets the value of a key. Errors: those of `get`; ENOMEM.
    [[nodiscard]] Result<void> put(KeyView key, ValueView value, Instant expires = never) const {
        return transact(map_.pool(), [&](Transaction& transaction) {
            return map_.put(transaction, bytes_of(key), bytes_of(value), expires);
        });
    }
    /// As `get` above, within a larger transaction.
    [[nodiscard]] Result<std::optional<Value>> get(Transaction& transaction, KeyView key,
                                                   Instant now = {}) const {
        const std::optional<ByteView> found = map_.find(transaction, bytes_of(key), now);
        std::optional<Value> value;
        if (found) value = value_of<Value>(*found);
        if (found && !value) return Error{"read a map: its value", std::errc::protocol_error};
        return value;
    }
    /// As `put` above, within a larger transaction; see `Map`.
    [[nodiscard]] Result<void> put(Transaction& transaction, KeyView key, ValueView value,
                                   Instant expires = never) const noexcept {
        return map_.put(transaction, bytes_of(key), bytes_of(value), expires);
    }
    /// Removes a key, within a larger transaction; see `Map`.
    bool erase(Transaction& transaction, KeyView key) const noexcept {
        return map_.erase(transaction, bytes_of(key));
    }
    /// Removes a key; returns whether it was there. Errors: those of `get`.
    [[nodiscard]] Result<bool> erase(KeyView key) const {
        return transact(map_.pool(), [&](Transaction& transaction) -> Result<bool> {
            return map_.erase(transaction, bytes_of(key));
        });
    }
    /// Returns the number of entries; see `Map::size`. Errors: those of `get`.
    [[nodiscard]] Result<std::uint64_t> size() const {
        return transact(map_.pool(), [&](Transaction& transaction) -> Result<std::uint64_t> {
            return map_.size(transaction);
        });
    }
    /// Removes what has expired, all of it, in many short transactions; returns how many. Errors:
    /// those of `get`.
    [[nodiscard]] Result<std::uint64_t> expire(Instant now) const { return expire_all(map_, now); }

    /// Returns the map of bytes, for operations within a larger transaction.
    [[nodiscard]] const Map& untyped() const noexcept { return map_; }

private:
    template <class T>
    static constexpr Word size_of = std::same_as<T, std::string> ? 0 : sizeof(T);
    static_assert(size_of<Key> < 1U << 31 && size_of<Value> <= ~0U);
    static constexpr Word schema = Word{1} << 63 | size_of<Key> << 32 | size_of<Value>;

    explicit MapOf(const Map& map) noexcept : map_{map} {}
    [[nodiscard]] Result<std::optional<Value>> get_locked(KeyView key, Instant now) const {
        return transact(map_.pool(),
                        [&](Transaction& transaction) { return get(transaction, key, now); });
    }
    template <MapValue T>
    [[nodiscard]] static std::optional<T> seen_value(const Map::Sight& seen) {
        if constexpr (std::same_as<T, std::string>) {
            std::string copy(seen.bytes, '\0');
            copy_out(seen.value, std::as_writable_bytes(std::span{copy}));
            return copy;
        } else {
            if (seen.bytes != sizeof(T)) return std::nullopt;
            std::array<std::byte, sizeof(T)> copy;
            copy_out(seen.value, copy);
            return std::bit_cast<T>(copy);
        }
    }
    [[nodiscard]] static Result<MapOf> typed(const Result<Map>& map) {
        if (!map) return map.error();
        return MapOf{*map};
    }

    Map map_;
};

}  // namespace ringfort::shm

namespace ringfort::shm {

// The seed of a map's hash.
Word random_word() noexcept;
// A moment as it is kept in an entry.
Word expires_word(Instant expires) noexcept;

}  // namespace ringfort::shm
