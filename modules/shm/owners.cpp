module;
#include <atomic>
#include <cstdint>
#include <optional>
#include <system_error>
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr Word alive_bit = 1;

// Acquire, against the release of `bury`: who reads that an owner is dead sees all that it wrote,
// since the master wrote it after the kernel had told it of the end.
Word life_of(OwnerRow& row) noexcept {
    return std::atomic_ref<Word>{row.life}.load(std::memory_order_acquire);
}

void set_life(OwnerRow& row, Word life) noexcept {
    step();
    std::atomic_ref<Word>{row.life}.store(life, std::memory_order_release);
}

}  // namespace

Result<Owner> Owners::admit(std::uint32_t row, OwnerName name) const {
    if (row >= count_) return Error{"admit an owner: row", std::errc::invalid_argument};
    const Word life = life_of(rows_[row]);
    if ((life & alive_bit) != 0)
        return Error{"admit an owner: its row", std::errc::device_or_resource_busy};
    auto epoch = static_cast<std::uint32_t>(life >> 1) + 1;
    if (epoch == 0) epoch = 1;
    // The name first: killed in between, the row is still nobody's.
    put(rows_[row].name, Word{name.slot} << 32 | name.generation);
    put(rows_[row].process, name.process);
    set_life(rows_[row], Word{epoch} << 1 | alive_bit);
    return Owner{row, epoch};
}

void Owners::bury(std::uint32_t row) const noexcept {
    if (row >= count_) return;
    const Word life = life_of(rows_[row]);
    if ((life & alive_bit) != 0) set_life(rows_[row], life & ~alive_bit);
}

bool Owners::bury(Owner owner) const noexcept {
    if (owner.row >= count_) return false;
    step();
    Word expected = Word{owner.epoch} << 1 | alive_bit;
    return std::atomic_ref<Word>{rows_[owner.row].life}.compare_exchange_strong(
        expected, expected & ~alive_bit, std::memory_order_release, std::memory_order_relaxed);
}

std::optional<Owner> Owners::living(std::uint32_t row) const noexcept {
    if (row >= count_) return std::nullopt;
    const Word life = life_of(rows_[row]);
    if ((life & alive_bit) == 0) return std::nullopt;
    return Owner{row, static_cast<std::uint32_t>(life >> 1)};
}

OwnerName Owners::name(std::uint32_t row) const noexcept {
    if (row >= count_) return {};
    const Word name = get(rows_[row].name);
    return {.slot = static_cast<std::uint32_t>(name >> 32),
            .generation = static_cast<std::uint32_t>(name),
            .process = get(rows_[row].process)};
}

}  // namespace ringfort::shm
