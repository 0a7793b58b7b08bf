module;
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr std::size_t granule = 16;

// The class for each size, in granules, rounded up.
constexpr auto class_by_granules = [] {
    std::array<std::uint8_t, page_bytes / 2 / granule + 1> table{};
    std::size_t which = 0;
    for (std::size_t n = 0; n < table.size(); ++n) {
        while (block_sizes[which] < n * granule) ++which;
        table[n] = static_cast<std::uint8_t>(which);
    }
    return table;
}();

constexpr std::size_t blocks_of(std::size_t which) {
    return page_bytes / block_sizes[which];
}

// The bits of word `n` of a page's bitmap that stand for blocks.
constexpr Word bits_of(std::size_t which, std::size_t n) {
    const std::size_t blocks = blocks_of(which);
    if (blocks <= n * 64) return 0;
    return blocks >= (n + 1) * 64 ? ~Word{0} : (Word{1} << (blocks - n * 64)) - 1;
}

bool full(const Descriptor& page, std::size_t which) {
    for (std::size_t n = 0; n < page.taken.size(); ++n)
        if ((~get(page.taken[n]) & bits_of(which, n)) != 0) return false;
    return true;
}

bool empty(const Descriptor& page) {
    return std::ranges::all_of(page.taken, [](const Word& word) { return get(word) == 0; });
}

}  // namespace

Descriptor& Slab::descriptor(Word page) noexcept {
    if (page >= geometry_.pages) [[unlikely]]
        return transaction_.absent<Descriptor>();
    return geometry_.descriptor(page);
}

void Slab::link(Word& first, Word page) noexcept {
    const Word next = get(first);
    transaction_.set(descriptor(page).next, next);
    transaction_.set(descriptor(page).previous, 0);
    if (next != 0) transaction_.set(descriptor(next - 1).previous, page + 1);
    transaction_.set(first, page + 1);
}

void Slab::unlink(Word& first, Word page) noexcept {
    const Word next = get(descriptor(page).next);
    const Word previous = get(descriptor(page).previous);
    if (next != 0) transaction_.set(descriptor(next - 1).previous, previous);
    if (previous != 0)
        transaction_.set(descriptor(previous - 1).next, next);
    else if (get(first) == page + 1)
        transaction_.set(first, next);
    else
        transaction_.fail();
}

Offset Slab::allocate(std::uint64_t size) noexcept {
    if (size == 0) return 0;
    if (size > geometry_.pages * page_bytes) {
        count_up(head_.large_requests);
        count_up(head_.large_failures);
        return 0;
    }
    if (size <= page_bytes / 2)
        return allocate_block(class_by_granules[(size + granule - 1) / granule]);
    return allocate_pages((size + page_bytes - 1) / page_bytes);
}

Offset Slab::allocate_block(std::size_t which) noexcept {
    ClassHead& blocks = head_.classes[which];
    count_up(blocks.requests);
    Word link_word = get(blocks.partial);
    if (link_word == 0) link_word = new_block_page(which);
    if (link_word == 0) {
        count_up(blocks.failures);
        return 0;
    }
    const Word page = link_word - 1;
    Descriptor& found = descriptor(page);
    const PageHead head = head_of(found);
    if (head.kind == PageKind::blocks && head.which == which) {
        for (std::size_t n = 0; n < found.taken.size(); ++n) {
            const Word taken = get(found.taken[n]);
            const Word room = ~taken & bits_of(which, n);
            if (room == 0) continue;
            const auto bit = static_cast<std::size_t>(std::countr_zero(room));
            if (empty(found)) use_kept(page);
            transaction_.set(found.taken[n], taken | Word{1} << bit);
            transaction_.set(blocks.used, get(blocks.used) + 1);
            if ((room & (room - 1)) == 0 && full(found, which)) unlink(blocks.partial, page);
            return geometry_.first_page + page * page_bytes + (n * 64 + bit) * block_sizes[which];
        }
    }
    transaction_.fail();  // in the list of pages with room, and has none
    return 0;
}

Word Slab::new_block_page(std::size_t which) noexcept {
    const Word taken = take_run(1);
    if (taken == 0) return 0;
    ClassHead& blocks = head_.classes[which];
    Descriptor& page = descriptor(taken - 1);
    // What the bitmap of a page that has no blocks says is read by nobody: rolled back, it is that.
    for (Word& word : page.taken) put(word, 0);
    const PageHead head{PageKind::blocks, static_cast<std::uint8_t>(which), 1};
    transaction_.set(page.head, head.word());
    transaction_.set(blocks.pages, get(blocks.pages) + 1);
    link(blocks.partial, taken - 1);
    return taken;
}

Offset Slab::allocate_pages(Word pages) noexcept {
    count_up(head_.large_requests);
    const Word taken = take_run(pages);
    if (taken == 0) {
        count_up(head_.large_failures);
        return 0;
    }
    transaction_.set(head_.large_used, get(head_.large_used) + pages);
    return geometry_.first_page + (taken - 1) * page_bytes;
}

Result<void> Slab::freeable(Offset block) noexcept {
    if (block < geometry_.first_page || block >= geometry_.end)
        return Error{"free a block: outside of the pool", std::errc::bad_address};
    const std::uint64_t within = (block - geometry_.first_page) % page_bytes;
    const Descriptor& page = descriptor((block - geometry_.first_page) / page_bytes);
    const PageHead head = head_of(page);
    switch (head.kind) {
        case PageKind::blocks: {
            if (head.which >= block_sizes.size()) break;
            const std::size_t number = within / block_sizes[head.which];
            if (within % block_sizes[head.which] != 0 || number >= blocks_of(head.which))
                return Error{"free a block: not its beginning", std::errc::invalid_argument};
            if ((get(page.taken[number / 64]) >> number % 64 & 1) != 0) return {};
            return Error{"free a block: it is free", std::errc::no_such_device_or_address};
        }
        case PageKind::used_head:
            if (within == 0) return {};
            return Error{"free a block: not its beginning", std::errc::invalid_argument};
        case PageKind::free_head:
        case PageKind::free_tail:
            return Error{"free a block: it is free", std::errc::no_such_device_or_address};
        case PageKind::inner:
            return Error{"free a block: not its beginning", std::errc::invalid_argument};
    }
    transaction_.fail();
    return {};
}

// It was freeable when the transaction was told to free it, and nobody else has had the lock since.
void Slab::free(Offset block) noexcept {
    if (!freeable(block)) transaction_.fail();
    if (transaction_.failed()) return;
    const Word page = (block - geometry_.first_page) / page_bytes;
    const PageHead head = head_of(descriptor(page));
    if (head.kind == PageKind::blocks)
        return free_block(page, head.which, (block - geometry_.first_page) % page_bytes);
    transaction_.set(head_.large_used, get(head_.large_used) - head.pages);
    release_run(page, head.pages);
}

void Slab::free_block(Word page, std::size_t which, std::uint64_t within) noexcept {
    if (which >= block_sizes.size()) return transaction_.fail();
    Descriptor& found = descriptor(page);
    const std::size_t block = within / block_sizes[which];
    Word& word = found.taken[block / 64];
    ClassHead& blocks = head_.classes[which];
    const bool was_full = full(found, which);
    transaction_.set(word, get(word) & ~(Word{1} << block % 64));
    transaction_.set(blocks.used, get(blocks.used) - 1);
    if (was_full) return link(blocks.partial, page);
    if (!empty(found)) return;
    const bool alone = (get(found.next) | get(found.previous)) == 0;
    if (!alone || !keep(page)) give_up_page(page, blocks);
}

void Slab::give_up_page(Word page, ClassHead& blocks) noexcept {
    unlink(blocks.partial, page);
    transaction_.set(blocks.pages, get(blocks.pages) - 1);
    release_run(page, 1);
}

// The last page with room of its size is kept even if it is empty: giving back and taking one block
// in turns would cost a page each time. A few in the pool, so that one transaction can take all of
// them when pages are short.
bool Slab::keep(Word page) noexcept {
    const auto slot =
        std::ranges::find_if(head_.kept, [](const Word& kept) { return get(kept) == 0; });
    if (slot == head_.kept.end()) return false;
    transaction_.set(*slot, page + 1);
    return true;
}

// An empty page that a block is taken from; a new one is not among them.
void Slab::use_kept(Word page) noexcept {
    for (Word& kept : head_.kept)
        if (get(kept) == page + 1) transaction_.set(kept, 0);
}

void Slab::reclaim(Word pages) noexcept {
    for (Word& kept : head_.kept) {
        const Word found = get(kept);
        if (found == 0) continue;
        const Descriptor& page = descriptor(found - 1);
        const PageHead head = head_of(page);
        if (head.kind != PageKind::blocks || head.which >= block_sizes.size() || !empty(page))
            return transaction_.fail();
        transaction_.set(kept, 0);
        give_up_page(found - 1, head_.classes[head.which]);
        if (find_run(pages) != 0) return;
    }
}

std::uint64_t Slab::size_of(Offset block) noexcept {
    if (block < geometry_.first_page || block >= geometry_.end) return 0;
    const Word page = (block - geometry_.first_page) / page_bytes;
    const std::uint64_t within = (block - geometry_.first_page) % page_bytes;
    const Descriptor& found = descriptor(page);
    const PageHead head = head_of(found);
    if (head.kind == PageKind::used_head && within == 0)
        return std::uint64_t{head.pages} * page_bytes;
    if (head.kind != PageKind::blocks || head.which >= block_sizes.size()) return 0;
    const std::size_t size = block_sizes[head.which];
    const std::size_t number = within / size;
    if (within % size != 0 || number >= blocks_of(head.which)) return 0;
    return (get(found.taken[number / 64]) >> number % 64 & 1) != 0 ? size : 0;
}

}  // namespace ringfort::shm
