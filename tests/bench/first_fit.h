/// What ours is compared with: pages in runs, the free ones in one list, of which the first that is
/// long enough is taken. The idea of nginx's slab allocator, written anew for its complexity alone:
/// the time to allocate grows with the number of free runs that are too short.
#pragma once
#include <cstddef>
#include <vector>

namespace bench {

class FirstFit {
public:
    explicit FirstFit(std::size_t pages) : runs_(pages) { give(0, pages); }

    /// Returns the first page of so many in a row; `none` if there are not as many.
    std::size_t take(std::size_t pages) {
        for (std::size_t at = first_; at != none; at = runs_[at].next) {
            const std::size_t length = runs_[at].length;
            if (length < pages) continue;
            unlink(at);
            if (length > pages) give(at + pages, length - pages);
            return at;
        }
        return none;
    }
    /// Gives pages back, to the front of the list. Neighbours are not joined: the callers leave
    /// pages in use between what they give back.
    void give(std::size_t page, std::size_t pages) {
        runs_[page] = {pages, first_, none};
        if (first_ != none) runs_[first_].previous = page;
        first_ = page;
    }

    static constexpr std::size_t none = ~std::size_t{0};

private:
    struct Run {
        std::size_t length = 0;
        std::size_t next = none;
        std::size_t previous = none;
    };

    void unlink(std::size_t page) {
        const Run& run = runs_[page];
        (run.previous == none ? first_ : runs_[run.previous].next) = run.next;
        if (run.next != none) runs_[run.next].previous = run.previous;
    }

    std::vector<Run> runs_;
    std::size_t first_ = none;
};

}  // namespace bench
