export module ringfort.shm:counters;

import ringfort.base;
import ringfort.std;
import :owners;
import :pool;
import :zone;

export namespace ringfort::shm {

/// Counters in a zone's payload: one row a living worker, on cache lines of its own, one column a
/// counter. A row has a single writer, the worker it was given to, so that counting is a plain load
/// and store without a bus lock and nothing a kill can leave half done. A row outlives its worker:
/// the next one it is given to counts on, and whoever keeps a gauge there sets it to 0 first.
/// Anyone may read, at any time: each value is whole, several values are not one snapshot.
///
/// A view: valid as long as the zone lives, across moves of the zone. Cheap to copy.
class Counters {
public:
    /// Returns the zone size needed. `slots` and `columns` as for `format`.
    [[nodiscard]] static Bytes zone_size(std::uint32_t slots, std::uint32_t columns) noexcept;

    /// Lays the zone out, all counters 0. Done once, by the zone's creator, before others attach.
    /// Errors: EINVAL for no slots or columns, or more than `limits::max_counter_rows` or
    /// `limits::max_counter_columns`; ENOSPC for a zone under `zone_size`.
    [[nodiscard]] static Result<Counters> format(Zone& zone, std::uint32_t slots,
                                                 std::uint32_t columns);

    /// Attaches to a zone laid out by `format`. Errors: EBADMSG for a header that `format` did not
    /// write; EPROTO for another layout version.
    [[nodiscard]] static Result<Counters> attach(Zone& zone);

    /// Opens the counters that are structure `number` of a pool, or makes them, all 0: a row for
    /// each owner, whose own is `pool.self().row`, of 128 bytes for each 16 columns. Valid as long
    /// as the pool's zone. Errors: EINVAL as for `format`; ENOMEM; EPROTO for another number of
    /// columns, or another structure; those of `Pool::begin`.
    [[nodiscard]] static Result<Counters> open_or_create(const Pool& pool, std::uint32_t number,
                                                         std::uint32_t columns);

    /// Return the dimensions of the table.
    [[nodiscard]] std::uint32_t slots() const noexcept { return slots_; }
    [[nodiscard]] std::uint32_t columns() const noexcept { return columns_; }

    // Relaxed, all of them: a counter says nothing of anything else, not even of another counter.

    /// Adds to a counter of the caller's own row; wraps at 2^64. Aborts out of range, as all below.
    void add(std::uint32_t slot, std::uint32_t column, std::uint64_t amount = 1) const noexcept {
        const Cell cell = at(slot, column);
        cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    /// Subtracts from a gauge of the caller's own row.
    void subtract(std::uint32_t slot, std::uint32_t column,
                  std::uint64_t amount = 1) const noexcept {
        add(slot, column, 0 - amount);
    }
    /// Sets a gauge of the caller's own row.
    void set(std::uint32_t slot, std::uint32_t column, std::uint64_t value) const noexcept {
        at(slot, column).store(value, std::memory_order_relaxed);
    }
    /// Reads one counter of any row.
    [[nodiscard]] std::uint64_t get(std::uint32_t slot, std::uint32_t column) const noexcept {
        return at(slot, column).load(std::memory_order_relaxed);
    }
    /// Adds up a column over all slots; wraps at 2^64.
    [[nodiscard]] std::uint64_t sum(std::uint32_t column) const noexcept;
    /// Adds up a gauge of a pool's counters over the owners that live: what a dead one left there
    /// counts no more, from its burial on.
    [[nodiscard]] std::uint64_t sum(std::uint32_t column, Owners living) const noexcept;

private:
    using Cell = std::atomic_ref<std::uint64_t>;
    static_assert(Cell::is_always_lock_free);

    Counters(std::uint64_t* cells, std::uint32_t slots, std::uint32_t columns) noexcept;
    [[nodiscard]] Cell at(std::uint32_t slot, std::uint32_t column) const noexcept {
        ensure(slot < slots_ && column < columns_, "a counter outside of its table");
        return Cell{cells_[std::size_t{slot} * row_cells_ + column]};
    }

    // This process's copies, validated once: no other process can lead an access astray.
    std::uint64_t* cells_;
    std::uint32_t slots_;
    std::uint32_t columns_;
    std::size_t row_cells_;
};

/// An enumeration of columns: enumerators from 0, the last one named `count`.
template <class Column>
concept ColumnEnum = std::is_enum_v<Column> && requires { Column::count; } &&
                     static_cast<std::uint64_t>(Column::count) > 0 &&
                     static_cast<std::uint64_t>(Column::count) <= limits::max_counter_columns;

/// `Counters` whose columns are the enumerators of `Column`.
template <ColumnEnum Column>
class CountersOf {
public:
    static constexpr auto columns = static_cast<std::uint32_t>(Column::count);

    /// See `Counters::zone_size`.
    [[nodiscard]] static Bytes zone_size(std::uint32_t slots) noexcept {
        return Counters::zone_size(slots, columns);
    }
    /// See `Counters::format`.
    [[nodiscard]] static Result<CountersOf> format(Zone& zone, std::uint32_t slots) {
        return typed(Counters::format(zone, slots, columns));
    }
    /// See `Counters::attach`. Error besides: EPROTO for another number of columns.
    [[nodiscard]] static Result<CountersOf> attach(Zone& zone) {
        return typed(Counters::attach(zone));
    }

    /// See `Counters::open_or_create`.
    [[nodiscard]] static Result<CountersOf> open_or_create(const Pool& pool, std::uint32_t number) {
        return typed(Counters::open_or_create(pool, number, columns));
    }

    /// Returns the number of rows.
    [[nodiscard]] std::uint32_t slots() const noexcept { return counters_.slots(); }
    /// See the functions of the same name in `Counters`.
    void add(std::uint32_t slot, Column column, std::uint64_t amount = 1) const noexcept {
        counters_.add(slot, static_cast<std::uint32_t>(column), amount);
    }
    void subtract(std::uint32_t slot, Column column, std::uint64_t amount = 1) const noexcept {
        counters_.subtract(slot, static_cast<std::uint32_t>(column), amount);
    }
    void set(std::uint32_t slot, Column column, std::uint64_t value) const noexcept {
        counters_.set(slot, static_cast<std::uint32_t>(column), value);
    }
    [[nodiscard]] std::uint64_t get(std::uint32_t slot, Column column) const noexcept {
        return counters_.get(slot, static_cast<std::uint32_t>(column));
    }
    [[nodiscard]] std::uint64_t sum(Column column) const noexcept {
        return counters_.sum(static_cast<std::uint32_t>(column));
    }
    [[nodiscard]] std::uint64_t sum(Column column, Owners living) const noexcept {
        return counters_.sum(static_cast<std::uint32_t>(column), living);
    }

private:
    explicit CountersOf(Counters counters) noexcept : counters_{counters} {}
    static Result<CountersOf> typed(const Result<Counters>& counters) {
        if (!counters) return counters.error();
        if (counters->columns() != columns)
            return Error{"attach counters: columns", std::errc::protocol_error};
        return CountersOf{*counters};
    }

    Counters counters_;
};

}  // namespace ringfort::shm
