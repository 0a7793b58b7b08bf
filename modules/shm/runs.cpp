// Free runs of pages, in lists by length: of one to seven pages each, then four to a doubling.
module;
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
module ringfort.shm;

namespace ringfort::shm {
namespace {

// The list for a run of so many pages.
constexpr std::size_t list_of(Word pages) {
    if (pages < 4) return pages == 0 ? 0 : static_cast<std::size_t>(pages - 1);
    const auto power = static_cast<std::size_t>(std::bit_width(pages) - 1);
    return 3 + (power - 2) * 4 + (pages >> (power - 2) & 3);
}

// The shortest run in a list.
constexpr Word shortest(std::size_t list) {
    if (list < 3) return list + 1;
    const std::size_t power = (list - 3) / 4 + 2;
    return (Word{4} + (list - 3) % 4) << (power - 2);
}
static_assert(list_of(limits::max_zone_size.count / page_bytes) < run_lists);
static_assert(list_of(1) == 0 && list_of(7) == 6 && list_of(9) == 7 && shortest(7) == 8);
static_assert(list_of(shortest(41)) == 41 && list_of(shortest(42) - 1) == 41);

}  // namespace

void Slab::format(const Geometry& geometry) noexcept {
    const PageHead head{PageKind::free_head, 0, static_cast<std::uint32_t>(geometry.pages)};
    put(geometry.descriptor(0).head, head.word());
    if (geometry.pages > 1) {
        const PageHead tail{PageKind::free_tail, 0, head.pages};
        put(geometry.descriptor(geometry.pages - 1).head, tail.word());
    }
    SlabHead& slab = geometry.slab_head();
    const std::size_t list = list_of(geometry.pages);
    put(slab.runs[list], 1);
    put(slab.occupied[list / 64], Word{1} << list % 64);
    put(slab.free_pages, geometry.pages);
}

Word Slab::take_run(Word pages) noexcept {
    Word found = find_run(pages);
    if (found == 0) {
        reclaim(pages);
        found = find_run(pages);
    }
    if (found == 0) return 0;
    const Word page = found - 1;
    const PageHead head = head_of(descriptor(page));
    if (head.kind != PageKind::free_head || head.pages < pages) {
        transaction_.fail();
        return 0;
    }
    remove_run(page, head.pages);
    if (head.pages > pages)
        insert_run(page + pages, head.pages - pages);
    else if (pages > 1)
        transaction_.set(descriptor(page + pages - 1).head, PageHead{}.word());
    const PageHead used{PageKind::used_head, 0, static_cast<std::uint32_t>(pages)};
    transaction_.set(descriptor(page).head, used.word());
    transaction_.set(head_.free_pages, get(head_.free_pages) - pages);
    return found;
}

// In the lists from the first on whose every run is long enough, any run will do. A few runs of the
// list below may be long enough, too.
Word Slab::find_run(Word pages) noexcept {
    std::size_t list = list_of(pages);
    const bool exact = shortest(list) == pages;
    for (std::size_t from = list + (exact ? 0 : 1); from < run_lists;) {
        const Word rest = get(head_.occupied[from / 64]) >> from % 64;
        if (rest != 0) {
            list = from + static_cast<std::size_t>(std::countr_zero(rest));
            return list < run_lists ? get(head_.runs[list]) : 0;
        }
        from = (from / 64 + 1) * 64;
    }
    if (exact) return 0;
    Word next = get(head_.runs[list]);
    for (std::uint32_t looks = 0; next != 0 && looks < limits::runs_looked_at; ++looks) {
        Descriptor& run = descriptor(next - 1);
        if (head_of(run).pages >= pages) return next;
        next = get(run.next);
    }
    return 0;
}

void Slab::insert_run(Word page, Word pages) noexcept {
    const std::size_t list = list_of(pages);
    if (pages == 0 || list >= run_lists) return transaction_.fail();
    PageHead head{PageKind::free_head, 0, static_cast<std::uint32_t>(pages)};
    transaction_.set(descriptor(page).head, head.word());
    head.kind = PageKind::free_tail;
    if (pages > 1) transaction_.set(descriptor(page + pages - 1).head, head.word());
    if (get(head_.runs[list]) == 0) {
        Word& occupied = head_.occupied[list / 64];
        transaction_.set(occupied, get(occupied) | Word{1} << list % 64);
    }
    link(head_.runs[list], page);
}

void Slab::remove_run(Word page, Word pages) noexcept {
    const std::size_t list = list_of(pages);
    if (pages == 0 || list >= run_lists) return transaction_.fail();
    unlink(head_.runs[list], page);
    if (get(head_.runs[list]) == 0) {
        Word& occupied = head_.occupied[list / 64];
        transaction_.set(occupied, get(occupied) & ~(Word{1} << list % 64));
    }
}

void Slab::release_run(Word page, Word pages) noexcept {
    if (pages == 0 || page >= geometry_.pages || pages > geometry_.pages - page)
        return transaction_.fail();
    transaction_.set(head_.free_pages, get(head_.free_pages) + pages);
    transaction_.set(descriptor(page).head, PageHead{}.word());
    Word begin = page;
    Word end = page + pages;
    if (begin > 0) {
        const PageHead left = head_of(descriptor(begin - 1));
        if (left.kind == PageKind::free_tail || left.kind == PageKind::free_head) {
            if (left.pages == 0 || left.pages > begin) return transaction_.fail();
            transaction_.set(descriptor(begin - 1).head, PageHead{}.word());
            begin -= left.pages;
            remove_run(begin, left.pages);
        }
    }
    if (end < geometry_.pages) {
        const PageHead right = head_of(descriptor(end));
        if (right.kind == PageKind::free_head) {
            if (right.pages == 0 || right.pages > geometry_.pages - end) return transaction_.fail();
            remove_run(end, right.pages);
            transaction_.set(descriptor(end).head, PageHead{}.word());
            if (right.pages > 1)
                transaction_.set(descriptor(end + right.pages - 1).head, PageHead{}.word());
            end += right.pages;
        }
    }
    insert_run(begin, end - begin);
}

}  // namespace ringfort::shm
