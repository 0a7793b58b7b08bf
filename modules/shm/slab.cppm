export module ringfort.shm:slab;

import ringfort.base;
import ringfort.std;
import :journal;
import :layout;
import :word;

export namespace ringfort::shm {

/// What the blocks of one size are doing.
struct BlockStatistics {
    std::uint64_t block_bytes = 0;  ///< 0: blocks of whole pages
    std::uint64_t pages = 0;        ///< given to this size
    std::uint64_t used = 0;         ///< blocks; pages for blocks of whole pages
    std::uint64_t free = 0;         ///< blocks in the pages of this size
    std::uint64_t requests = 0;     ///< since the pool was laid out
    std::uint64_t failures = 0;     ///< of those, for want of a page
};

/// How full a pool is.
struct PoolStatistics {
    std::uint64_t page_bytes = 0;
    std::uint64_t pages = 0;
    std::uint64_t free_pages = 0;
    std::uint64_t longest_run = 0;  ///< free pages in a row, rounded down by up to a fifth
    std::vector<BlockStatistics> sizes;

    /// Returns which part of the free pages lies outside of the longest run: 0 to 1.
    [[nodiscard]] double fragmentation() const noexcept {
        if (free_pages == 0 || longest_run >= free_pages) return 0;
        return 1 - static_cast<double>(longest_run) / static_cast<double>(free_pages);
    }
};

}  // namespace ringfort::shm

namespace ringfort::shm {

// The allocator, at work within a transaction. Blocks up to half a page come from pages cut into
// blocks of one size, larger ones are runs of pages. All books are kept in descriptors, one a page,
// so that what is in a block means nothing to it. Everything is bounded in time: a page with room
// is the first of its size's list, a run that is long enough the first of a list of such runs.
class Slab {
public:
    explicit Slab(Transaction& transaction) noexcept
        : transaction_{transaction},
          geometry_{*transaction.geometry_},
          head_{geometry_.slab_head()} {}

    // Lays out the books of an empty pool; nobody else has it yet, so without the journal.
    static void format(const Geometry& geometry) noexcept;
    // Adds the pages from `first` on, which are new and whose descriptors are zeros.
    void extend(Word first) noexcept { release_run(first, geometry_.pages - first); }
    // Calls `visit(page, pages)` for the pages between free runs, which blocks may be in. Without
    // the lock that is a guess, of pages that there are.
    template <class Visit>
    static void used_runs(const Geometry& geometry, Visit visit) noexcept;

    Offset allocate(std::uint64_t size) noexcept;
    // What `Transaction::free` says of a block.
    Result<void> freeable(Offset block) noexcept;
    void free(Offset block) noexcept;
    std::uint64_t size_of(Offset block) noexcept;
    PoolStatistics statistics();
    // Compares all books with each other, in time proportional to the pages.
    bool sound();

private:
    Offset allocate_block(std::size_t which) noexcept;
    Offset allocate_pages(Word pages) noexcept;
    void free_block(Word page, std::size_t which, std::uint64_t within) noexcept;
    void give_up_page(Word page, ClassHead& blocks) noexcept;
    Word new_block_page(std::size_t which) noexcept;
    bool keep(Word page) noexcept;
    void use_kept(Word page) noexcept;
    // Gives back pages that are kept, until there is a run of so many.
    void reclaim(Word pages) noexcept;

    // Lists of pages, linked by page + 1.
    void link(Word& first, Word page) noexcept;
    void unlink(Word& first, Word page) noexcept;

    // Runs: see runs.cpp. Pages are returned + 1, 0: none.
    Word take_run(Word pages) noexcept;
    Word find_run(Word pages) noexcept;
    void release_run(Word page, Word pages) noexcept;
    void insert_run(Word page, Word pages) noexcept;
    void remove_run(Word page, Word pages) noexcept;

    Descriptor& descriptor(Word page) noexcept;
    bool check_runs();
    bool check_classes();
    bool check_kept();

    Transaction& transaction_;
    const Geometry& geometry_;
    SlabHead& head_;
};

// The head of a descriptor, taken apart.
struct PageHead {
    PageKind kind = PageKind::inner;
    std::uint8_t which = 0;  // class of blocks
    std::uint32_t pages = 0;

    static PageHead of(Word word) noexcept {
        return {static_cast<PageKind>(word & 0xff), static_cast<std::uint8_t>(word >> 8),
                static_cast<std::uint32_t>(word >> 32)};
    }
    [[nodiscard]] Word word() const noexcept {
        return Word{pages} << 32 | Word{which} << 8 | static_cast<Word>(kind);
    }
};

inline PageHead head_of(const Descriptor& page) noexcept {
    return PageHead::of(get(page.head));
}

template <class Visit>
void Slab::used_runs(const Geometry& geometry, Visit visit) noexcept {
    Word used = 0;  // since where there is no free page
    for (Word page = 0; page < geometry.pages;) {
        const PageHead head = head_of(geometry.descriptor(page));
        const Word pages = std::clamp<Word>(head.pages, 1, geometry.pages - page);
        if (head.kind == PageKind::free_head) {
            if (page > used) visit(used, page - used);
            used = page + pages;
        }
        page += pages;
    }
    if (geometry.pages > used) visit(used, geometry.pages - used);
}

}  // namespace ringfort::shm
