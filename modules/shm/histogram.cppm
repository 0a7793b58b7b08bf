export module ringfort.shm:histogram;

import ringfort.base;
import ringfort.std;
import :counters;

export namespace ringfort::shm {

/// A histogram of any numbers, such as microseconds, in columns of a table of counters: eight to
/// each doubling, so that what is told is off by less than an eighth. Each worker counts in its own
/// row, by one plain store, which a kill leaves done or not; readers add the rows up. What a dead
/// worker counted stays counted.
///
/// A view: valid as long as the table. Cheap to copy.
class Histogram {
public:
    /// How many columns it takes.
    static constexpr std::uint32_t columns = 16 + (64 - 4) * 8;

    /// Looks at the columns of `counters` from `first` on. Errors: EINVAL if there are not as many.
    [[nodiscard]] static Result<Histogram> of(Counters counters, std::uint32_t first = 0) {
        if (first > counters.columns() || counters.columns() - first < columns)
            return Error{"look at a histogram", std::errc::invalid_argument};
        return Histogram{counters, first};
    }

    /// Counts a number in the caller's own row. Aborts for a row out of range.
    inline void record(std::uint32_t row, std::uint64_t number) const noexcept {
        counters_.add(row, first_ + column_of(number));
    }
    /// Returns how many have been counted, in all rows.
    [[nodiscard]] std::uint64_t count() const noexcept;
    /// Returns the largest number that is counted together with the one below which `part` (0 to 1)
    /// of all lie; nothing if none has been counted.
    [[nodiscard]] std::optional<std::uint64_t> quantile(double part) const noexcept;

    /// Returns the column for a number, from 0 on.
    [[nodiscard]] static constexpr std::uint32_t column_of(std::uint64_t number) noexcept {
        if (number < 16) return static_cast<std::uint32_t>(number);
        const auto power = static_cast<std::uint32_t>(std::bit_width(number)) - 1;
        return 16 + (power - 4) * 8 + static_cast<std::uint32_t>(number >> (power - 3) & 7);
    }
    /// Returns the largest number in a column.
    [[nodiscard]] static constexpr std::uint64_t largest_in(std::uint32_t column) noexcept {
        if (column < 16) return column;
        const std::uint32_t power = (column - 16) / 8 + 4;
        const std::uint64_t smallest = std::uint64_t{8 + (column - 16) % 8} << (power - 3);
        return smallest + ((std::uint64_t{1} << (power - 3)) - 1);
    }

private:
    Histogram(Counters counters, std::uint32_t first) noexcept
        : counters_{counters}, first_{first} {}

    Counters counters_;
    std::uint32_t first_;
};

static_assert(Histogram::column_of(15) == 15 && Histogram::column_of(16) == 16 &&
              Histogram::column_of(17) == 16 && Histogram::column_of(18) == 17 &&
              Histogram::column_of(~0ULL) == Histogram::columns - 1 &&
              Histogram::largest_in(Histogram::columns - 1) == ~0ULL &&
              Histogram::columns <= limits::max_counter_columns);

}  // namespace ringfort::shm
