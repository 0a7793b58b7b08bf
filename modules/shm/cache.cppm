export module ringfort.shm:cache;

import ringfort.base;
import ringfort.std;
import :journal;
import :map;
import :pool;
import :word;

export namespace ringfort::shm {

/// How a cache is made.
struct CacheOptions {
    std::uint32_t buckets = 1'024;  ///< as `MapOptions::buckets`
    Bytes budget{1ULL << 20};       ///< what its entries may take together, see `Cache::cost`
};

/// A map in a pool that forgets what has not been used for longest, so that its entries stay within
/// a budget of bytes, and within what the pool has room for. Entries may expire, too.
///
/// Putting is several transactions if something has to be forgotten first: a process killed in
/// between has forgotten it and put nothing. A view, as `Map`: valid as long as the pool it was
/// made or opened with. Cheap to copy.
class Cache {
public:
    /// Makes an empty cache as structure `number`. Errors: EEXIST if there is one already; EINVAL
    /// for a number not below `limits::pool_roots`, or for no buckets or too many; ENOMEM; those of
    /// `Pool::begin`.
    [[nodiscard]] static Result<Cache> create(const Pool& pool, std::uint32_t number,
                                              CacheOptions options = {});
    /// Opens the cache that is structure `number`. Errors: ENOENT if there is none; EPROTO if it is
    /// something else; EBADMSG if it is corrupted; those of `Pool::begin`.
    [[nodiscard]] static Result<Cache> open(const Pool& pool, std::uint32_t number);
    /// Opens the cache that is structure `number`, or makes it if there is none, as
    /// `Map::open_or_create`. One that is there keeps its budget.
    [[nodiscard]] static Result<Cache> open_or_create(const Pool& pool, std::uint32_t number,
                                                      CacheOptions options = {});

    /// Returns a copy of the value of a key, unless it is not there or has expired at `now`; it is
    /// the last then to be forgotten. Errors: those of `Pool::begin`; EBADMSG.
    [[nodiscard]] Result<std::optional<std::string>> get(std::string_view key,
                                                         Instant now = {}) const;
    /// Sets the value of a key, which is the last then to be forgotten, and forgets what has to go
    /// for it. Errors: EMSGSIZE for an entry that takes more than the budget, or more than
    /// `limits::max_map_entry`: what the key's value was, it stays; ENOMEM if the pool has no room
    /// even without any other entry; those of `Pool::begin`.
    [[nodiscard]] Result<void> put(std::string_view key, std::string_view value,
                                   Instant expires = never) const;
    /// Removes a key; returns whether it was there. Errors: those of `get`.
    [[nodiscard]] Result<bool> erase(std::string_view key) const;

    /// As the functions above, within a larger transaction.
    [[nodiscard]] std::optional<std::string> get(Transaction& transaction, std::string_view key,
                                                 Instant now = {}) const;
    bool erase(Transaction& transaction, std::string_view key) const noexcept;
    /// As `put` above, within a larger transaction. Returns whether it has put: if not, it has
    /// forgotten an entry, whose room is there for the next transaction, in which it is to be
    /// called again.
    [[nodiscard]] Result<bool> put(Transaction& transaction, std::string_view key,
                                   std::string_view value, Instant expires = never) const noexcept;

    /// Returns how much of the budget an entry takes: its bytes, and what it takes to keep them.
    [[nodiscard]] static std::uint64_t cost(std::uint64_t key_bytes,
                                            std::uint64_t value_bytes) noexcept {
        return sizeof(Map::Node) + sizeof(Uses) + aligned_to_words(key_bytes) +
               aligned_to_words(value_bytes);
    }
    /// Return how much of the budget is taken, how many entries there are, and how many have been
    /// forgotten since the cache was made. Errors: those of `get`.
    [[nodiscard]] Result<Bytes> used() const;
    [[nodiscard]] Result<std::uint64_t> size() const;
    [[nodiscard]] Result<std::uint64_t> forgotten() const;

    /// Calls `visit(key, value)` for each entry, from the one used last to the one that is to be
    /// forgotten next, within one transaction; it must not change the cache. Errors: those of
    /// `get`.
    template <class Visit>
    [[nodiscard]] Result<void> visit(Visit visit) const {
        return transact(map_.pool(), [&](Transaction& transaction) -> Result<void> {
            this->visit(transaction, visit);
            return {};
        });
    }
    /// As above, within a larger transaction.
    template <class Visit>
    void visit(Transaction& transaction, Visit visit) const {
        std::uint64_t left = map_.bound(transaction);
        Offset newer = 0;
        for (Offset at = shm::get(header(transaction).newest); at != 0; --left) {
            const Map::Entry entry = map_.read(transaction, at);
            const Uses& there = uses(transaction, at);
            if (left == 0 || shm::get(there.newer) != newer) transaction.fail();
            if (transaction.failed()) return;
            visit(entry.key, entry.value);
            newer = at;
            at = shm::get(there.older);
        }
        if (shm::get(header(transaction).oldest) != newer) transaction.fail();
    }

private:
    struct Header {
        Word map;
        Word budget;
        Word used;
        Word newest;
        Word oldest;
        Word forgotten;
    };
    // Between an entry's head and its key: who was used after it, and before.
    struct Uses {
        Word newer;
        Word older;
    };

    Cache(const Map& map, Offset header) noexcept : map_{map}, header_{header} {}

    [[nodiscard]] static Result<Cache> obtain(const Pool& pool, std::uint32_t number,
                                              CacheOptions options, Obtain how);

    [[nodiscard]] Header& header(Transaction& transaction) const noexcept;
    [[nodiscard]] static Uses& uses(Transaction& transaction, Offset at) noexcept {
        return transaction.at<Uses>(at + sizeof(Map::Node));
    }
    void link(Transaction& transaction, Offset at) const noexcept;
    void unlink(Transaction& transaction, Offset at) const noexcept;
    void remove(Transaction& transaction, const Map::Place& place) const noexcept;
    bool forget_oldest(Transaction& transaction) const noexcept;
    [[nodiscard]] Result<Word> read(Word Header::* field) const;

    Map map_;
    Offset header_;
};

}  // namespace ringfort::shm
