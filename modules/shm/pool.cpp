module;
#include <algorithm>
#include <array>
#include <bit>
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
constexpr Word layout_version = 1;

// FNV-1a over the words that follow from rows and size.
Word checksum(PoolHeader header) {
    header.checksum = 0;
    header.quarantined = 0;
    Word hash = 0xcbf2'9ce4'8422'2325;
    for (const Word word : std::bit_cast<std::array<Word, sizeof header / sizeof(Word)>>(header))
        for (int shift = 0; shift < 64; shift += 8)
            hash = (hash ^ (word >> shift & 0xff)) * 0x100'0000'01b3;
    return hash;
}

PoolHeader header_of(const Geometry& geometry) {
    PoolHeader header{};
    header.magic = magic;
    header.layout_version = layout_version;
    header.bytes = geometry.bytes;
    header.rows = geometry.rows;
    header.pages = geometry.pages;
    header.checksum = checksum(header);
    return header;
}

}  // namespace

Bytes Pool::zone_size(std::uint32_t rows, Bytes content) noexcept {
    const std::uint64_t pages =
        std::max<std::uint64_t>(1, (content.count + page_bytes - 1) / page_bytes);
    const Geometry books = Geometry::of(nullptr, 0, rows + 1);
    return Bytes{Zone::header_bytes + books.descriptors + 2 * zone_alignment +
                 pages * (page_bytes + sizeof(Descriptor))};
}

Result<Pool> Pool::format(Zone& zone, std::uint32_t rows) {
    if (rows == 0 || rows > limits::max_counter_rows)
        return Error{"lay out a pool", std::errc::invalid_argument};
    const std::span<std::byte> payload = zone.payload();
    const Geometry geometry = Geometry::of(payload.data(), payload.size(), rows + 1);
    if (geometry.pages == 0) return Error{"lay out a pool", std::errc::no_space_on_device};
    // The blocks keep what is in them; the books are zeros.
    std::fill_n(payload.begin(), geometry.first_page, std::byte{0});
    Slab::format(geometry);
    const PoolHeader header = header_of(geometry);
    std::memcpy(payload.data(), &header, sizeof header);
    const Owners owners{geometry.owners(), geometry.rows};
    RF_LET(const Owner keeper, owners.admit(rows, {}));
    return Pool{geometry, keeper};
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
    if (found.rows < 2 || found.rows > limits::max_counter_rows + 1)
        return Error{"attach a pool: rows", std::errc::bad_message};
    const Geometry geometry =
        Geometry::of(payload.data(), payload.size(), static_cast<std::uint32_t>(found.rows));
    if (found.quarantined != 0) return Error{"attach a pool: quarantined", std::errc::bad_message};
    const PoolHeader expected = header_of(geometry);
    if (geometry.pages == 0 || std::memcmp(&found, &expected, sizeof found) != 0)
        return Error{"attach a pool: header", std::errc::bad_message};
    return geometry;
}

Result<Pool> Pool::attach(Zone& zone, Owner self) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    if (!Owners{geometry.owners(), geometry.rows}.alive(self))
        return Error{"attach a pool: its owner", std::errc::owner_dead};
    return Pool{geometry, self};
}

Result<Pool> Pool::keep(Zone& zone) {
    RF_LET(const Geometry geometry, geometry_of(zone));
    const Owners owners{geometry.owners(), geometry.rows};
    const std::uint32_t row = geometry.rows - 1;
    owners.bury(row);
    RF_LET(const Owner keeper, owners.admit(row, {}));
    Pool pool{geometry, keeper};
    RF_TRY(pool.bury(row));
    return pool;
}

Result<Owner> Pool::admit(std::uint32_t row, OwnerName name) const {
    if (row >= rows()) return Error{"admit an owner: row", std::errc::invalid_argument};
    return owners().admit(row, name);
}

Result<bool> Pool::bury(std::uint32_t row) const {
    // The keeper's own row is buried by the next keeper, which lives in it by now.
    if (row != self_.row) owners().bury(row);
    std::optional<Guard> guard = lock_.take_from_dead(row);
    if (!guard) return false;
    RF_TRY(recover());
    return true;
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
    RF_LET(Transaction transaction, begin());
    PoolStatistics statistics = Slab{transaction}.statistics();
    RF_TRY(transaction.commit());
    return statistics;
}

Result<void> Pool::check() const {
    RF_LET(Transaction transaction, begin());
    if (!Slab{transaction}.sound()) transaction.fail();
    return transaction.commit();
}

}  // namespace ringfort::shm
