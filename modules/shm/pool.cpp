module;
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr Word magic = 0x6c6f'6f70'5f66'7220;  // " rf_pool"
constexpr Word layout_version = 3;

PoolHeader header_of(const Geometry& geometry) {
    PoolHeader header{};
    header.magic = magic;
    header.layout_version = layout_version;
    header.bytes = geometry.bytes;
    header.rows = geometry.rows;
    header.pages = geometry.pages;
    header.offsets = {Geometry::owners_at, geometry.roots, geometry.slab,
                      geometry.first_page, geometry.end,   geometry.books_end};
    header.checksum = checksum_of(std::as_bytes(std::span{&header, 1}));
    return header;
}

// The blocks keep what is in them; the books are zeros.
void clear_books(const Geometry& geometry) {
    step();
    std::memset(geometry.base, 0, geometry.first_page);
    step();
    std::memset(geometry.base + geometry.end, 0, geometry.books_end - geometry.end);
}

// At last: killed before, it is no pool.
void put_header(const Geometry& geometry) {
    PoolHeader header = header_of(geometry);
    header.magic = 0;
    step();
    std::memcpy(geometry.base, &header, sizeof header);
    publish(geometry.header().magic, magic);
}

// What a pool that grows takes along, at most.
Bytes content_of(const Geometry& geometry) {
    const Word free = std::min(get(geometry.slab_head().free_pages), geometry.pages);
    return Bytes{geometry.first_page + geometry.pages * sizeof(Descriptor) +
                 (geometry.pages - free) * page_bytes};
}

// Has the pages of memory be there, and mapped, that the bytes lie in. A kernel that cannot
// (EINVAL, before 5.14) does it later, with each page.
Result<void> populate(std::byte* bytes, std::uint64_t count, int advice) {
    const auto from = reinterpret_cast<std::uintptr_t>(bytes);
    std::byte* const page = bytes - from % page_bytes;
    const std::size_t size = count + from % page_bytes;
    while (::madvise(page, size, advice) != 0) {
        if (errno == EINVAL) return {};
        if (errno != EINTR) return Error::last("madvise(MADV_POPULATE)");
    }
    return {};
}

// Does before the copy what takes most of its time, and needs no lock. What is in use by then and
// is not yet, costs its page faults later.
Result<void> populate(const Geometry& from, const Geometry& to) {
    Result<void> done;
    const auto both = [&](Offset at, Offset new_at, std::uint64_t bytes) {
        if (done) done = populate(from.base + at, bytes, MADV_POPULATE_READ);
        if (done) done = populate(to.base + new_at, bytes, MADV_POPULATE_WRITE);
    };
    both(from.end, to.end, from.pages * sizeof(Descriptor));
    Slab::used_runs(from, [&](Word page, Word pages) {
        const Offset at = from.first_page + page * page_bytes;
        both(at, at, pages * page_bytes);
    });
    return done;
}

}  // namespace

Bytes Pool::zone_size(std::uint32_t rows, Bytes content) noexcept {
    const std::uint64_t pages =
        std::max<std::uint64_t>(1, (content.count + page_bytes - 1) / page_bytes);
    const Geometry books = Geometry::of(nullptr, 0, rows + keeper_rows);
    return Bytes{Zone::header_bytes + books.first_page + pages * (page_bytes + sizeof(Descriptor))};
}

Result<Pool> Pool::format(Zone& zone, std::uint32_t rows) {
    if (rows == 0 || rows > limits::max_counter_rows)
        return Error{"lay out a pool", std::errc::invalid_argument};
    const std::span<std::byte> payload = zone.payload();
    const Geometry geometry = Geometry::of(payload.data(), payload.size(), rows + keeper_rows);
    if (geometry.pages == 0) return Error{"lay out a pool", std::errc::no_space_on_device};
    // Others may be in it, and its table says who has been.
    if (get(geometry.header().magic) == magic)
        return Error{"lay out a pool: there is one", std::errc::file_exists};
    clear_books(geometry);
    Slab::format(geometry);
    put_header(geometry);
    const Owners owners{geometry.owners(), geometry.rows};
    RF_LET(const Owner keeper, owners.admit(rows, {}));
    return Pool{geometry, keeper};
}

// All that a transaction may read, under the lock of `from`. Nobody else has `to` yet.
Result<void> Pool::copy(const Pool& from, const Geometry& to, Bytes most) {
    RF_LET(Transaction transaction, from.begin());
    const Geometry& geometry = from.geometry_;
    if (content_of(geometry) > most)
        return Error{"grow a pool: what is in it", std::errc::file_too_large};
    if (!Slab{transaction}.sound()) transaction.fail();
    if (transaction.failed()) return transaction.commit();
    const auto copy_bytes = [&](Offset at, Offset new_at, std::uint64_t bytes) {
        step();
        std::memcpy(to.base + new_at, geometry.base + at, bytes);
    };
    copy_bytes(Geometry::owners_at, Geometry::owners_at, geometry.rows * sizeof(OwnerRow));
    copy_bytes(geometry.roots, geometry.roots, geometry.first_page - geometry.roots);
    copy_bytes(geometry.end, to.end, geometry.pages * sizeof(Descriptor));
    Slab::used_runs(geometry, [&](Word page, Word pages) {
        const Offset at = geometry.first_page + page * page_bytes;
        copy_bytes(at, at, pages * page_bytes);
    });
    // Entries in the journal of transactions that are over must not pass for later ones' in either.
    put(to.journal().state, get(geometry.journal().state));
    return transaction.commit();
}

Result<Bytes> Pool::content(Zone& zone) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    if (get(geometry.journal().quarantined) != 0)
        return Error{"look at a pool: quarantined", std::errc::bad_message};
    return content_of(geometry);
}

Result<Pool> Pool::grow(const Pool& from, Zone& into, Bytes most) {
    const std::span<std::byte> payload = into.payload();
    const Geometry grown = Geometry::of(payload.data(), payload.size(), from.geometry_.rows);
    if (grown.pages < from.geometry_.pages)
        return Error{"grow a pool", std::errc::no_space_on_device};
    if (get(grown.header().magic) == magic)
        return Error{"grow a pool: there is one", std::errc::file_exists};
    clear_books(grown);
    if (content_of(from.geometry_) <= most) RF_TRY(populate(from.geometry_, grown));
    RF_TRY(copy(from, grown, most));
    const Pool pool{grown, from.self_};
    if (grown.pages > from.geometry_.pages) {
        RF_TRY(transact(pool, [&](Transaction& transaction) -> Result<void> {
            Slab{transaction}.extend(from.geometry_.pages);
            return {};
        }));
    }
    put_header(grown);
    return pool;
}

Result<Geometry> Pool::geometry_of(Zone& zone) {
    const std::span<std::byte> payload = zone.payload();
    // Copied first: another process may change it while it is checked.
    PoolHeader found{};
    if (payload.size() < sizeof found) return Error{"attach a pool: size", std::errc::bad_message};
    std::memcpy(&found, payload.data(), sizeof found);
    if (found.magic != magic) return Error{"attach a pool: magic", std::errc::bad_message};
    if (found.layout_version != layout_version)
        return Error{"attach a pool: layout version", std::errc::protocol_error};
    if (found.rows <= keeper_rows || found.rows > limits::max_counter_rows + keeper_rows)
        return Error{"attach a pool: rows", std::errc::bad_message};
    const Geometry geometry =
        Geometry::of(payload.data(), payload.size(), static_cast<std::uint32_t>(found.rows));
    const PoolHeader expected = header_of(geometry);
    if (geometry.pages == 0 || std::memcmp(&found, &expected, sizeof found) != 0)
        return Error{"attach a pool: header", std::errc::bad_message};
    return geometry;
}

Result<Pool> Pool::attach(Zone& zone, Owner self) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    if (get(geometry.journal().quarantined) != 0)
        return Error{"attach a pool: quarantined", std::errc::bad_message};
    if (!Owners{geometry.owners(), geometry.rows}.alive(self))
        return Error{"attach a pool: its owner", std::errc::owner_dead};
    return Pool{geometry, self};
}

Result<Pool> Pool::attach(Zone& zone, std::uint32_t row) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    const auto self = Owners{geometry.owners(), geometry.rows}.living(row);
    if (!self || row >= geometry.rows - keeper_rows)
        return Error{"attach a pool: its owner", std::errc::owner_dead};
    return attach(zone, *self);
}

bool Pool::unusable(Zone& zone) {
    const Result<Geometry> geometry = geometry_of(zone);
    return !zone.sound() || !geometry || get(geometry->journal().quarantined) != 0;
}

Result<Pool> Pool::attach_keeper(Zone& zone, bool alone, OwnerName name) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    const Owners owners{geometry.owners(), geometry.rows};
    const std::uint32_t first = geometry.rows - keeper_rows;
    for (std::uint32_t row = first; alone && row < geometry.rows; ++row) owners.bury(row);
    std::uint32_t own = first;
    while (own < geometry.rows && owners.living(own)) ++own;
    if (own == geometry.rows)
        return Error{"keep a pool: too many do", std::errc::device_or_resource_busy};
    RF_LET(const Owner keeper, owners.admit(own, name));
    const Pool pool{geometry, keeper};
    // What is found corrupted then is quarantined, and can be rebuilt.
    for (std::uint32_t row = first; row < geometry.rows; ++row)
        static_cast<void>(pool.recover_from(row));
    return pool;
}

Result<Pool> Pool::keep(Zone& zone, OwnerName name) {
    return attach_keeper(zone, true, name);
}

Result<Pool> Pool::join(Zone& zone, OwnerName name) {
    return attach_keeper(zone, false, name);
}

Result<Owner> Pool::admit(std::uint32_t row, OwnerName name) const {
    if (row >= rows()) return Error{"admit an owner: row", std::errc::invalid_argument};
    return owners().admit(row, name);
}

Result<bool> Pool::bury(std::uint32_t row) const {
    if (row >= rows()) return Error{"bury an owner: row", std::errc::invalid_argument};
    owners().bury(row);
    return recover_from(row);
}

Result<bool> Pool::bury(Owner owner) const {
    if (owner.row >= geometry_.rows)
        return Error{"bury an owner: row", std::errc::invalid_argument};
    // What its row holds is its own, as long as nobody is admitted to it.
    if (!owners().bury(owner)) return false;
    return recover_from(owner.row);
}

Result<bool> Pool::bury_keeper() const {
    if (self_.row < rows()) return Error{"bury a keeper", std::errc::operation_not_permitted};
    bool recovered = false;
    for (std::uint32_t row = rows(); row < geometry_.rows; ++row) {
        if (row == self_.row) continue;
        owners().bury(row);
        RF_LET(const bool had_begun, recover_from(row));
        recovered |= had_begun;
    }
    return recovered;
}

Result<bool> Pool::recover_from(std::uint32_t row) const {
    std::optional<Guard> guard = lock_.take_from_dead(row);
    if (!guard) return false;
    RF_TRY(recover());
    return true;
}

Result<void> Pool::rebuild() const {
    if (self_.row < rows()) return Error{"rebuild a pool", std::errc::operation_not_permitted};
    lock_.repair();
    RF_LET(const Guard guard, lock_.lock());
    quarantine();
    publish(geometry_.journal().state,
            Journal::empty_after(Journal::number_of(get(geometry_.journal().state))));
    for (Offset at = geometry_.roots; at < geometry_.books_end; at += sizeof(Word)) {
        if (at == geometry_.first_page) at = geometry_.end;
        put(geometry_.at<Word>(at), 0);
    }
    Slab::format(geometry_);
    put(geometry_.journal().quarantined, 0);
    return {};
}

Result<std::optional<Transaction>> Pool::try_begin() const {
    std::optional<Guard> guard = lock_.try_lock();
    if (!guard && !lock_.sound()) return refused(Error{"take a lock", std::errc::bad_message});
    if (!guard) return std::optional<Transaction>{};
    RF_LET(Transaction transaction, start(*std::move(guard)));
    return std::optional<Transaction>{std::move(transaction)};
}

void Pool::quarantine() const noexcept {
    shm::quarantine(geometry_);
}

// With a word that no owner wrote nobody gets the lock any more, whoever asks.
Error Pool::refused(Error error) const noexcept {
    if (error.is(std::errc::bad_message)) quarantine();
    return error;
}

Result<void> Pool::recover() const {
    if (!roll_back(geometry_) || quarantined())
        return Error{"use a pool: it is corrupted", std::errc::bad_message};
    return {};
}

Result<Offset> Pool::root(std::uint32_t number, Word tag) const {
    return transact(*this,
                    [&](Transaction& transaction) { return root(transaction, number, tag); });
}

// The transaction is what holds the lock.
Result<Offset> Pool::root(Transaction&, std::uint32_t number, Word tag) const {
    if (number >= limits::pool_roots) return Error{"look up a root", std::errc::invalid_argument};
    const Root& root = geometry_.root(number);
    const Offset block = get(root.offset);
    if (block == 0) return Offset{0};
    if (get(root.tag) != tag) return Error{"look up a root: its tag", std::errc::protocol_error};
    return block;
}

void Pool::set_root(Transaction& transaction, std::uint32_t number, Word tag, Offset block) const {
    ensure(number < limits::pool_roots, "a root that there is not");
    Root& root = geometry_.root(number);
    transaction.set(root.tag, tag);
    transaction.set(root.offset, block);
}

Result<PoolStatistics> Pool::statistics() const {
    return transact(*this, [](Transaction& transaction) -> Result<PoolStatistics> {
        return Slab{transaction}.statistics();
    });
}

Result<std::optional<PoolStatistics>> Pool::try_statistics() const {
    RF_LET(std::optional<Transaction> transaction, try_begin());
    if (!transaction) return std::optional<PoolStatistics>{};
    PoolStatistics statistics = Slab{*transaction}.statistics();
    RF_TRY(transaction->commit());
    return std::optional{std::move(statistics)};
}

Result<void> Pool::check() const {
    RF_LET(Transaction transaction, begin());
    if (!Slab{transaction}.sound()) transaction.fail();
    return transaction.commit();
}

}  // namespace ringfort::shm
