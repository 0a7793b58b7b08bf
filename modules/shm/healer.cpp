module;
#include <cstdint>
#include <optional>
#include <system_error>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {

Result<Healing> Healer::step() {
    RF_LET(std::optional<Transaction> transaction, pool_.try_begin());
    if (!transaction) return Healing::refused;
    // They wait, while counts that are too high for a moment only refuse.
    for (std::uint32_t root = 0; !woken_ && root < limits::pool_roots; ++root) {
        SharedLock::release_dead(pool_, *transaction, root);
        Queue::wake_sleepers(pool_, *transaction, root);
    }
    std::uint32_t root = root_;
    std::uint32_t bucket = bucket_;
    for (; root < limits::pool_roots; ++root, bucket = 0) {
        // Other structures hold nothing for anybody.
        const auto map = Map::open(pool_, *transaction, root, ConnectionLimiter::schema);
        if (!map) continue;
        RF_LET(const bool through, ConnectionLimiter{*map}.heal_part(*transaction, bucket));
        if (!through) break;
    }
    RF_TRY(transaction->commit());
    woken_ = true;
    root_ = root;
    bucket_ = bucket;
    return root == limits::pool_roots ? Healing::through : Healing::more;
}

}  // namespace ringfort::shm
