module;
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

struct Header {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t slots;
    std::uint32_t columns;
    std::uint32_t row_bytes;
    std::uint64_t checksum;  // of this header with the checksum 0: slots and columns have no twin
    std::array<std::byte, zone_alignment - 32> reserved;  // zero
};
static_assert(sizeof(Header) == zone_alignment);

constexpr std::uint64_t magic = 0x7374'6e75'6f63'6672;  // "rfcounts"
constexpr std::uint32_t layout_version = 1;

constexpr std::size_t row_bytes_of(std::uint32_t columns) {
    const std::size_t used = std::size_t{columns} * sizeof(std::uint64_t);
    return (used + zone_alignment - 1) / zone_alignment * zone_alignment;
}

constexpr std::size_t payload_bytes(std::uint32_t slots, std::uint32_t columns) {
    return sizeof(Header) + slots * row_bytes_of(columns);
}

bool valid_dimensions(std::uint32_t slots, std::uint32_t columns) {
    return slots > 0 && slots <= limits::max_counter_rows && columns > 0 &&
           columns <= limits::max_counter_columns;
}

Header header_of(std::uint32_t slots, std::uint32_t columns) {
    Header header{};
    header.magic = magic;
    header.layout_version = layout_version;
    header.slots = slots;
    header.columns = columns;
    header.row_bytes = static_cast<std::uint32_t>(row_bytes_of(columns));
    header.checksum = checksum_of(std::as_bytes(std::span{&header, 1}));
    return header;
}

// In front of the rows of a pool's counters, in the same block.
struct PoolCounters {
    Word columns;
    std::array<Word, zone_alignment / sizeof(Word) - 1> reserved;
};
static_assert(sizeof(PoolCounters) == zone_alignment);

constexpr Word counters_tag = 0x312f'746e'6366'7220;  // " rfcnt/1"

std::uint64_t* cells_of(std::span<std::byte> payload) {
    return reinterpret_cast<std::uint64_t*>(payload.data() + sizeof(Header));
}

}  // namespace

Bytes Counters::zone_size(std::uint32_t slots, std::uint32_t columns) noexcept {
    return std::max(limits::min_zone_size,
                    Bytes{Zone::header_bytes + payload_bytes(slots, columns)});
}

Counters::Counters(std::uint64_t* cells, std::uint32_t slots, std::uint32_t columns) noexcept
    : cells_{cells},
      slots_{slots},
      columns_{columns},
      row_cells_{row_bytes_of(columns) / sizeof(std::uint64_t)} {}

Result<Counters> Counters::format(Zone& zone, std::uint32_t slots, std::uint32_t columns) {
    if (!valid_dimensions(slots, columns))
        return Error{"lay out counters", std::errc::invalid_argument};
    const std::span<std::byte> payload = zone.payload();
    const std::size_t needed = payload_bytes(slots, columns);
    if (needed > payload.size()) return Error{"lay out counters", std::errc::no_space_on_device};
    std::fill_n(payload.begin(), needed, std::byte{0});
    const Header header = header_of(slots, columns);
    std::memcpy(payload.data(), &header, sizeof header);
    return Counters{cells_of(payload), slots, columns};
}

Result<Counters> Counters::attach(Zone& zone) {
    const std::span<std::byte> payload = zone.payload();
    // Copied first: another process may change it while it is checked.
    Header found{};
    if (payload.size() < sizeof found)
        return Error{"attach counters: size", std::errc::bad_message};
    std::memcpy(&found, payload.data(), sizeof found);
    if (found.magic != magic) return Error{"attach counters: magic", std::errc::bad_message};
    if (found.layout_version != layout_version)
        return Error{"attach counters: layout version", std::errc::protocol_error};
    if (!valid_dimensions(found.slots, found.columns) ||
        payload_bytes(found.slots, found.columns) > payload.size())
        return Error{"attach counters: slots and columns", std::errc::bad_message};
    const Header expected = header_of(found.slots, found.columns);
    if (std::memcmp(&found, &expected, sizeof found) != 0)
        return Error{"attach counters: header", std::errc::bad_message};
    return Counters{cells_of(payload), found.slots, found.columns};
}

Result<Counters> Counters::open_or_create(const Pool& pool, std::uint32_t number,
                                          std::uint32_t columns) {
    const std::uint32_t rows = pool.rows();
    if (!valid_dimensions(rows, columns))
        return Error{"make counters", std::errc::invalid_argument};
    const std::uint64_t bytes = rows * row_bytes_of(columns);
    const auto found = [&](Transaction& transaction, Offset at) {
        auto& cells = transaction.at<Word>(at + sizeof(PoolCounters));
        if (transaction.bytes(at + sizeof(PoolCounters), bytes).empty()) transaction.fail();
        return Counters{&cells, rows, columns};
    };
    return obtain<Counters>(
        pool, number, counters_tag, Obtain::either,
        [&](Transaction& transaction) -> Result<Counters> {
            const Offset at = transaction.allocate(sizeof(PoolCounters) + bytes);
            if (at == 0) return Error{"make counters", std::errc::not_enough_memory};
            transaction.init(transaction.at<PoolCounters>(at).columns, columns);
            for (std::uint64_t cell = 0; cell < bytes; cell += sizeof(Word))
                transaction.init(transaction.at<Word>(at + sizeof(PoolCounters) + cell), 0);
            pool.set_root(transaction, number, counters_tag, at);
            return found(transaction, at);
        },
        [&](Transaction& transaction, Offset at) -> Result<Counters> {
            if (shm::get(transaction.at<PoolCounters>(at).columns) != columns)
                return Error{"open counters: columns", std::errc::protocol_error};
            return found(transaction, at);
        });
}

std::uint64_t Counters::sum(std::uint32_t column) const noexcept {
    std::uint64_t total = 0;
    for (std::uint32_t slot = 0; slot < slots_; ++slot) total += get(slot, column);
    return total;
}

std::uint64_t Counters::sum(std::uint32_t column, Owners living) const noexcept {
    std::uint64_t total = 0;
    for (std::uint32_t slot = 0; slot < slots_; ++slot)
        if (living.living(slot)) total += get(slot, column);
    return total;
}

}  // namespace ringfort::shm
