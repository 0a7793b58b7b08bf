// What the allocator tells of itself, and whether its books agree.
module;
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>
module ringfort.shm;

namespace ringfort::shm {
namespace {

Word taken_blocks(const Descriptor& page) {
    Word count = 0;
    for (const Word& word : page.taken) count += static_cast<Word>(std::popcount(get(word)));
    return count;
}

}  // namespace

PoolStatistics Slab::statistics() {
    PoolStatistics all;
    all.page_bytes = page_bytes;
    all.pages = geometry_.pages;
    all.free_pages = get(head_.free_pages);
    for (std::size_t n = head_.occupied.size(); n-- > 0 && all.longest_run == 0;) {
        const Word occupied = get(head_.occupied[n]);
        if (occupied == 0) continue;
        const auto list = n * 64 + static_cast<std::size_t>(std::bit_width(occupied) - 1);
        const Word first = list < run_lists ? get(head_.runs[list]) : 0;
        if (first != 0) all.longest_run = head_of(descriptor(first - 1)).pages;
    }
    for (std::size_t which = 0; which < block_sizes.size(); ++which) {
        const ClassHead& blocks = head_.classes[which];
        BlockStatistics one;
        one.block_bytes = block_sizes[which];
        one.pages = get(blocks.pages);
        one.used = get(blocks.used);
        one.free = one.pages * (page_bytes / one.block_bytes) - one.used;
        one.requests = get(blocks.requests);
        one.failures = get(blocks.failures);
        all.sizes.push_back(one);
    }
    BlockStatistics large;
    large.pages = large.used = get(head_.large_used);
    large.requests = get(head_.large_requests);
    large.failures = get(head_.large_failures);
    all.sizes.push_back(large);
    return all;
}

bool Slab::sound() {
    return check_runs() && check_classes() && check_kept() && !transaction_.failed();
}

// Walks all pages, run by run: they cover the pool without a gap, no two free ones are neighbours,
// and as many are in the lists.
bool Slab::check_runs() {
    Word free_pages = 0;
    Word large_pages = 0;
    Word free_runs = 0;
    bool after_free = false;
    for (Word page = 0; page < geometry_.pages;) {
        const PageHead head = head_of(descriptor(page));
        const bool is_free = head.kind == PageKind::free_head;
        if (!is_free && head.kind != PageKind::used_head && head.kind != PageKind::blocks)
            return false;
        if (head.pages == 0 || head.pages > geometry_.pages - page || (is_free && after_free))
            return false;
        for (Word inner = page + 1; inner < page + head.pages; ++inner) {
            const PageHead found = head_of(descriptor(inner));
            const bool tail = is_free && inner == page + head.pages - 1;
            if (found.kind != (tail ? PageKind::free_tail : PageKind::inner)) return false;
            if (tail && found.pages != head.pages) return false;
        }
        if (is_free) free_pages += head.pages, ++free_runs;
        if (head.kind == PageKind::used_head) large_pages += head.pages;
        after_free = is_free;
        page += head.pages;
    }
    for (std::size_t list = 0; list < run_lists; ++list) {
        Word next = get(head_.runs[list]);
        if ((next != 0) != ((get(head_.occupied[list / 64]) >> list % 64 & 1) != 0)) return false;
        for (Word previous = 0; next != 0; --free_runs) {
            Descriptor& run = descriptor(next - 1);
            if (free_runs == 0 || head_of(run).kind != PageKind::free_head ||
                get(run.previous) != previous)
                return false;
            previous = next;
            next = get(run.next);
        }
    }
    return free_runs == 0 && free_pages == get(head_.free_pages) &&
           large_pages == get(head_.large_used);
}

// The empty pages are the kept ones, and each is kept once.
bool Slab::check_kept() {
    std::size_t empty_pages = 0;
    for (Word page = 0; page < geometry_.pages; ++page) {
        const Descriptor& found = descriptor(page);
        if (head_of(found).kind != PageKind::blocks || taken_blocks(found) != 0) continue;
        ++empty_pages;
        const auto kept = [page](const Word& word) { return get(word) == page + 1; };
        if (std::ranges::count_if(head_.kept, kept) != 1) return false;
    }
    const auto used = [](const Word& word) { return get(word) != 0; };
    return std::cmp_equal(std::ranges::count_if(head_.kept, used), empty_pages);
}

// Counts the blocks of each size, and finds the pages with room in its list.
bool Slab::check_classes() {
    std::array<Word, block_sizes.size()> used{};
    std::array<Word, block_sizes.size()> pages{};
    std::array<Word, block_sizes.size()> with_room{};
    for (Word page = 0; page < geometry_.pages; ++page) {
        Descriptor& found = descriptor(page);
        const PageHead head = head_of(found);
        if (head.kind != PageKind::blocks) continue;
        if (head.which >= block_sizes.size() || head.pages != 1) return false;
        const Word taken = taken_blocks(found);
        const Word blocks = page_bytes / block_sizes[head.which];
        if (taken > blocks) return false;
        used[head.which] += taken;
        ++pages[head.which];
        if (taken < blocks) ++with_room[head.which];
    }
    for (std::size_t which = 0; which < block_sizes.size(); ++which) {
        const ClassHead& blocks = head_.classes[which];
        if (get(blocks.used) != used[which] || get(blocks.pages) != pages[which]) return false;
        Word previous = 0;
        for (Word next = get(blocks.partial); next != 0; --with_room[which]) {
            Descriptor& page = descriptor(next - 1);
            if (with_room[which] == 0 || head_of(page).which != which ||
                get(page.previous) != previous)
                return false;
            previous = next;
            next = get(page.next);
        }
        if (with_room[which] != 0) return false;
    }
    return true;
}

}  // namespace ringfort::shm
