// Kills at every store. What a process leaves that is killed before store k is what memory holds
// before store k: so a zone is copied there, its owner buried in the copy, and the copy looked at.
#ifndef RINGFORT_TESTS_SHM_STEPS_HPP
#define RINGFORT_TESTS_SHM_STEPS_HPP

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

import ringfort.base;
import ringfort.shm;

namespace steps {

/// A zone with a pool that one worker, in row 0, works in.
class Stage {
public:
    explicit Stage(std::uint32_t pages);

    /// The pool as the worker sees it.
    ringfort::shm::Pool& pool() { return worker_; }
    ringfort::shm::Pool& keeper() { return keeper_; }
    ringfort::shm::Zone& zone() { return zone_; }

private:
    ringfort::shm::Zone zone_;
    ringfort::shm::Pool keeper_;
    ringfort::shm::Pool worker_;
};

/// Does something to a pool.
using Operation = std::function<void(ringfort::shm::Pool&)>;
/// Writes down what a pool holds, as far as a user can see it.
using Picture = std::function<std::string(ringfort::shm::Pool&)>;

/// How the dead are found, how deep kills are nested, and what is right besides before and after.
struct Kills {
    bool by_waiter = false;    ///< the master only marks the dead, a waiter recovers
    std::uint32_t nested = 0;  ///< every so manyth recovery is killed at every store of it; 0: none
    /// What may be found between before and after, in this order: what these make of before.
    std::vector<Operation> between{};
};

/// How much the tests do: 1 unless RINGFORT_SHM_EFFORT says more.
std::uint32_t effort();

/// Carries out `operation` and kills it before every store; requires what is then recovered to be
/// what was before or what is afterwards, and never before again once it was after; that the pool's
/// books agree; and that the pool can be worked in. Returns the picture afterwards.
std::string kill_everywhere(Stage& stage, const Operation& operation, const Picture& picture,
                            const Kills& kills = {});

}  // namespace steps

#endif
