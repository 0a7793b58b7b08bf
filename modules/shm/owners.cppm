export module ringfort.shm:owners;

import ringfort.base;
import ringfort.std;
import :word;

export namespace ringfort::shm {

/// A process as a zone knows it: the row that it was admitted to, and which of that row's owners it
/// is. A number of a process would be another's one day.
struct Owner {
    std::uint32_t row = 0;
    std::uint32_t epoch = 0;  ///< from 1 on; 0: nobody

    friend bool operator==(const Owner&, const Owner&) = default;
};

/// Who an owner is: what the master said when it admitted it. The table makes nothing of it.
struct OwnerName {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    /// By which another master can tell whether it lives; 0: by nothing.
    std::uint64_t process = 0;

    friend bool operator==(const OwnerName&, const OwnerName&) = default;
};

/// One row of the table as it lies in the zone.
struct OwnerRow {
    Word life;  ///< epoch << 1 | alive: one store decides both
    Word name;  ///< slot << 32 | generation
    Word process;
    Word reserved;

    /// Reports whether this is the row of a living owner of so many in this row. Acquire, against
    /// the release of `Owners::bury`: who reads that an owner is dead sees all that it wrote.
    [[nodiscard]] bool is(std::uint32_t epoch) const noexcept {
        return std::atomic_ref<Word>{const_cast<Word&>(life)}.load(std::memory_order_acquire) ==
               (Word{epoch} << 1 | 1);
    }
};

/// The table of owners in a zone: who is alive. The master alone writes it; all others ask it about
/// the holder of a lock they wait for. A view: valid as long as the zone lives; cheap to copy.
class Owners {
public:
    /// How many rows there may be: so many fit into the word of a lock.
    static constexpr std::uint32_t max_rows = 2'046;

    /// Looks at a table of `count` rows in a zone.
    Owners(OwnerRow* rows, std::uint32_t count) noexcept : rows_{rows}, count_{count} {}

    /// Gives a row to a new process; the next epoch of the row is its. Errors: EINVAL for a row
    /// that the table has not; EBUSY for one whose owner has not been buried.
    [[nodiscard]] Result<Owner> admit(std::uint32_t row, OwnerName name) const;

    /// Notes that the owner of a row has died: only after it was reaped, since from here on others
    /// take from it what it held. A row without a living owner, or that there is not, is left
    /// alone.
    void bury(std::uint32_t row) const noexcept;
    /// As above, unless the row has another owner by now: two masters may learn of one death, and
    /// one of them has given the row away again. Returns whether it was alive.
    bool bury(Owner owner) const noexcept;

    /// Reports whether `owner` has been admitted and not been buried.
    [[nodiscard]] bool alive(Owner owner) const noexcept {
        return owner.row < count_ && rows_[owner.row].is(owner.epoch);
    }
    /// Returns who lives in a row, if anybody does.
    [[nodiscard]] std::optional<Owner> living(std::uint32_t row) const noexcept;
    /// Returns what the last owner of a row was called.
    [[nodiscard]] OwnerName name(std::uint32_t row) const noexcept;
    /// Returns the number of rows.
    [[nodiscard]] std::uint32_t rows() const noexcept { return count_; }

private:
    OwnerRow* rows_;
    std::uint32_t count_;
};

}  // namespace ringfort::shm
