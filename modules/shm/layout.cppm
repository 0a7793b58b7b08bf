export module ringfort.shm:layout;

import ringfort.base;
import ringfort.std;
import :lock;
import :owners;
import :word;
import :zone;

// What lies where in a pool. Nothing of it is exported: who uses a pool sees offsets of blocks.
namespace ringfort::shm {

inline constexpr std::size_t page_bytes = 4'096;

// The last rows of the table of owners are keepers': one may take over from another while those
// before it still drain.
inline constexpr std::uint32_t keeper_rows = 4;
static_assert(limits::max_counter_rows + keeper_rows <= Owners::max_rows);

// In front of a pool, written once; all of it follows from the number of rows and the size, and
// from how this version of the layer lays out a pool.
struct PoolHeader {
    Word magic;
    Word layout_version;
    Word bytes;  // of the payload
    Word rows;   // of the table of owners, the keepers' included
    Word pages;
    Word checksum;
    std::array<Word, 6> offsets;   // of the owners and of what follows: see `Geometry`
    std::array<Word, 4> reserved;  // zero
};
static_assert(sizeof(PoolHeader) == zone_alignment);

// A word before its change: whose transaction, the low bits of its number, and where.
struct JournalEntry {
    Word where;  // number << 40 | offset
    Word old;
};

// The undo log: the first `count` entries are what the holder of the lock has changed so far. Those
// behind them are of earlier transactions, which have other numbers: if the count is corrupted,
// they are not taken for entries of this one.
struct Journal {
    Word state;        // number << 16 | count
    Word quarantined;  // not 0: something in the pool was found corrupted
    std::array<Word, 6> reserved;
    std::array<JournalEntry, limits::journal_entries> entries;

    static constexpr int number_shift = 16;
    static constexpr int where_shift = 40;
    static constexpr Word offsets = (Word{1} << where_shift) - 1;

    [[nodiscard]] static Word count_of(Word state) noexcept {
        return state & ((Word{1} << number_shift) - 1);
    }
    [[nodiscard]] static Word number_of(Word state) noexcept { return state >> number_shift; }
    // Emptied, it has the number of the transaction that comes next.
    [[nodiscard]] static Word empty_after(Word number) noexcept {
        return (number + 1) << number_shift;
    }
};
static_assert(limits::journal_entries < Word{1} << Journal::number_shift);
static_assert(limits::max_zone_size.count <= Journal::offsets);

// A place from which what is kept in the pool can be found again after attaching.
struct Root {
    Word tag;  // what kind of structure, and which layout of it
    Offset offset;
};

// Sizes of blocks: multiples of 16, four to a doubling, as many as possible in a page.
inline constexpr std::array<std::uint16_t, 21> block_sizes{16,  32,  48,  64,  80,    96,    112,
                                                           128, 160, 192, 224, 256,   320,   384,
                                                           448, 512, 640, 768, 1'024, 1'360, 2'048};

// A class of blocks. Pages with room are in a list; full ones are in none.
struct ClassHead {
    Word partial;  // page + 1; 0: none
    Word used;     // blocks
    Word pages;
    Word requests;  // these two are counted without the journal
    Word failures;
    std::array<Word, 3> reserved;
};

inline constexpr std::size_t run_lists = 96;

// What the allocator knows: the classes, and the free runs of pages in lists by their length.
struct SlabHead {
    std::array<Word, run_lists / 64 + 1> occupied;  // which lists are not empty
    Word free_pages;
    Word large_used;  // pages in blocks of whole pages
    Word large_requests;
    Word large_failures;
    std::array<Word, limits::kept_pages> kept;  // page + 1 of empty pages of blocks; 0: none
    std::array<Word, 6> reserved;
    std::array<Word, run_lists> runs;  // page + 1 of the first; 0: none
    std::array<ClassHead, block_sizes.size()> classes;
};

// What a page is. A page that neither begins nor ends a run is `inner`, whatever the run: so a run
// is cut and merged by a change of its ends.
enum class PageKind : std::uint8_t { inner, free_head, free_tail, used_head, blocks };

struct Descriptor {
    Word head;  // kind | class << 8 | pages << 32, the pages of a run in its head and free tail
    Word next;  // page + 1, in a list of free runs or of pages with room
    Word previous;
    std::array<Word, 4> taken;  // a bit for each block
    Word reserved;
};
static_assert(sizeof(Descriptor) == 64);

struct PoolLock {
    LockCell cell;
    std::array<std::byte, zone_alignment - sizeof(LockCell)> rest;
};

// Where everything is: this process's copy, validated once, which no other process can change.
struct Geometry {
    std::byte* base = nullptr;
    std::uint64_t bytes = 0;
    std::uint32_t rows = 0;
    Word pages = 0;
    Offset roots = 0;  // from here on, words are changed through the journal
    Offset slab = 0;
    Offset first_page = 0;  // does not depend on how many there are: a pool that grows keeps it
    Offset end = 0;         // behind the last page: the descriptors
    Offset books_end = 0;   // behind the last descriptor

    static constexpr Offset lock_at = sizeof(PoolHeader);
    static constexpr Offset journal_at = lock_at + sizeof(PoolLock);
    static constexpr Offset owners_at = journal_at + sizeof(Journal);

    // Lays out a payload; no pages if it is too small.
    static constexpr Geometry of(std::byte* base, std::uint64_t bytes,
                                 std::uint32_t rows) noexcept {
        const auto aligned = [](std::uint64_t at) {
            return (at + zone_alignment - 1) / zone_alignment * zone_alignment;
        };
        Geometry geometry;
        geometry.base = base;
        geometry.bytes = bytes;
        geometry.rows = rows;
        geometry.roots = aligned(owners_at + std::uint64_t{rows} * sizeof(OwnerRow));
        geometry.slab = aligned(geometry.roots + limits::pool_roots * sizeof(Root));
        geometry.first_page = aligned(geometry.slab + sizeof(SlabHead));
        if (geometry.first_page < bytes)
            geometry.pages = (bytes - geometry.first_page) / (page_bytes + sizeof(Descriptor));
        geometry.end = geometry.first_page + geometry.pages * page_bytes;
        geometry.books_end = geometry.end + geometry.pages * sizeof(Descriptor);
        return geometry;
    }

    template <class T>
    [[nodiscard]] T& at(Offset offset) const noexcept {
        return *reinterpret_cast<T*>(base + offset);
    }
    [[nodiscard]] PoolHeader& header() const noexcept { return at<PoolHeader>(0); }
    [[nodiscard]] LockCell& lock() const noexcept { return at<PoolLock>(lock_at).cell; }
    [[nodiscard]] inline Journal& journal() const noexcept { return at<Journal>(journal_at); }
    [[nodiscard]] OwnerRow* owners() const noexcept { return &at<OwnerRow>(owners_at); }
    [[nodiscard]] inline SlabHead& slab_head() const noexcept { return at<SlabHead>(slab); }
    [[nodiscard]] inline Descriptor& descriptor(Word page) const noexcept {
        return at<Descriptor>(end + page * sizeof(Descriptor));
    }
    [[nodiscard]] Root& root(std::uint32_t number) const noexcept {
        return at<Root>(roots + number * sizeof(Root));
    }
};

}  // namespace ringfort::shm
