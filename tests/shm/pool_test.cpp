#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

namespace {

constexpr std::uint64_t page = 4'096;
constexpr Word tag = 0x7465'7374;
// The journal lies behind the header and the lock: how many (the low 16 bits),
// then pairs of offset and old word.
constexpr std::size_t first_of_journal = 256 / sizeof(Word);

Zone zone_for(std::uint64_t pages, std::uint32_t rows = 3) {
    return Zone::create("pool", "pool/1", Pool::zone_size(rows, Bytes{pages * page})).value();
}

Zone attached(const Zone& zone) {
    return Zone::attach(Fd{::fcntl(zone.fd(), F_DUPFD_CLOEXEC, 0)}, zone.name(), zone.tag())
        .value();
}

struct Pair {
    Word left;
    Word right;
};

// A child that breaks an invariant must not write a core file or its message into the test's log.
template <class Body>
bool aborts(Body body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::signal(SIGABRT, SIG_DFL);
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::close(STDERR_FILENO);
        body();
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

}  // namespace

TEST_CASE("a pool is used through mappings at different addresses") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    Zone other = attached(zone);
    const Pool worker = Pool::attach(other, keeper.admit(0, {5, 1}).value()).value();
    REQUIRE(zone.payload().data() != other.payload().data());
    const Offset block = transact(keeper, [&](Transaction& transaction) -> Result<Offset> {
                             const Offset made = transaction.allocate(sizeof(Pair));
                             transaction.init(transaction.at<Pair>(made).left, 1);
                             transaction.init(transaction.at<Pair>(made).right, 2);
                             keeper.set_root(transaction, 3, tag, made);
                             return made;
                         }).value();
    REQUIRE(worker.root(3, tag).value() == block);
    REQUIRE(worker.root(2, tag).value() == 0);
    REQUIRE(worker.root(3, tag + 1).error().is(std::errc::protocol_error));
    REQUIRE(worker.root(limits::pool_roots, tag).error().is(std::errc::invalid_argument));
    Transaction transaction = worker.begin().value();
    REQUIRE(get(transaction.at<Pair>(block).left) == 1);
    REQUIRE(get(transaction.at<Pair>(block).right) == 2);
}

TEST_CASE("a transaction that is not committed changes nothing") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    const Offset block = transact(pool, [&](Transaction& transaction) -> Result<Offset> {
                             const Offset made = transaction.allocate(sizeof(Pair));
                             transaction.init(transaction.at<Pair>(made).left, 1);
                             return made;
                         }).value();
    {
        Transaction transaction = pool.begin().value();
        transaction.set(transaction.at<Pair>(block).left, 5);
        transaction.set(transaction.at<Pair>(block).left, 6);
        REQUIRE(get(transaction.at<Pair>(block).left) == 6);
        REQUIRE(transaction.allocate(4'000) != 0);
        transaction.release(block);
    }
    REQUIRE_FALSE(transact(pool, [&](Transaction& transaction) -> Result<void> {
        transaction.set(transaction.at<Pair>(block).left, 7);
        return Error{"try", std::errc::permission_denied};
    }));
    Transaction transaction = pool.begin().value();
    REQUIRE(get(transaction.at<Pair>(block).left) == 1);
    REQUIRE(transaction.size_of(block) == sizeof(Pair));
    transaction.commit().value();
    pool.check().value();
}

TEST_CASE("what a killed worker had begun is rolled back when it is buried, and the lock is free") {
    Zone zone = zone_for(4);
    const Pool keeper = Pool::format(zone, 3).value();
    const Pool worker = Pool::attach(zone, keeper.admit(1, {5, 1}).value()).value();
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        Transaction transaction = worker.begin().value();
        worker.set_root(transaction, 0, tag, transaction.allocate(100));
        ::kill(::getpid(), SIGKILL);
    }
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    const Instant begin = now();
    const Word* journal = reinterpret_cast<const Word*>(zone.payload().data()) + first_of_journal;
    REQUIRE((*journal & 0xffff) > 0);
    REQUIRE(keeper.bury(1).value());
    REQUIRE((*journal & 0xffff) == 0);  // not left to whoever comes next
    REQUIRE(keeper.root(0, tag).value() == 0);
    REQUIRE(now() - begin < Milliseconds{5'000});
    REQUIRE_FALSE(keeper.bury(1).value());
    REQUIRE(keeper.lock().recoveries() == 1);
    keeper.check().value();
    const PoolStatistics statistics = keeper.statistics().value();
    for (const BlockStatistics& each : statistics.sizes) REQUIRE(each.used == 0);
    REQUIRE(Pool::attach(zone, worker.self()).error().is(std::errc::owner_dead));
    REQUIRE(keeper.admit(1, {5, 2}));
}

TEST_CASE(
    "what a transaction gives back it never gets, and has not given back if it is rolled back") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    const Offset block = transact(pool, [](Transaction& transaction) -> Result<Offset> {
                             return transaction.allocate(2'048);
                         }).value();
    for (const bool committed : {false, true}) {
        Transaction transaction = pool.begin().value();
        REQUIRE(transaction.size_of(block) == 2'048);
        transaction.release(block);
        REQUIRE(transaction.size_of(block) == 0);
        for (int n = 0; n < 7; ++n) {
            const Offset made = transaction.allocate(2'048);
            REQUIRE(made != 0);
            REQUIRE(made != block);
        }
        REQUIRE(transaction.allocate(2'048) == 0);
        if (committed) transaction.commit().value();
    }
    Transaction transaction = pool.begin().value();
    REQUIRE(transaction.size_of(block) == 0);
    REQUIRE(transaction.allocate(2'048) == block);
    transaction.commit().value();
    pool.check().value();
}

TEST_CASE("a transaction gives back a number of blocks, and fails alone of more") {
    Zone zone = zone_for(40);
    const Pool pool = Pool::format(zone, 3).value();
    // Each a page between pages that are taken: nothing costs more to give back.
    std::vector<Offset> blocks;
    {
        Transaction transaction = pool.begin().value();
        for (std::size_t n = 0; n <= 2 * limits::transaction_frees; ++n)
            blocks.push_back(transaction.allocate(page));
        transaction.commit().value();
    }
    for (const std::size_t count : {limits::transaction_frees + 1, limits::transaction_frees}) {
        Transaction transaction = pool.begin().value();
        for (std::size_t n = 0; n < count; ++n) transaction.free(blocks[2 * n]).value();
        const Result<void> done = transaction.commit();
        REQUIRE(done.has_value() == (count == limits::transaction_frees));
        if (!done) REQUIRE(done.error().is(std::errc::no_buffer_space));
        pool.check().value();
    }
    REQUIRE_FALSE(pool.quarantined());
}

TEST_CASE("a transaction does not begin with the guard of another lock") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    Zone other_zone = zone_for(4);
    const Pool other = Pool::format(other_zone, 3).value();
    REQUIRE(pool.begin(pool.lock().lock().value()));
    REQUIRE(aborts([&] { static_cast<void>(pool.begin(other.lock().lock().value())); }));
    REQUIRE(aborts([&] {
        Guard guard = pool.lock().lock().value();
        guard.unlock();
        static_cast<void>(pool.begin(std::move(guard)));
    }));
}

TEST_CASE("a count of a journal that no transaction wrote brings back nothing of earlier ones") {
    for (const Word count : {Word{1}, Word{2}, Word{9}}) {
        Zone zone = zone_for(4);
        const Pool pool = Pool::format(zone, 3).value();
        for (Word n = 1; n < 20; ++n) {
            Transaction transaction = pool.begin().value();
            pool.set_root(transaction, 0, tag, n);
            transaction.commit().value();
        }
        auto& state = reinterpret_cast<Word*>(zone.payload().data())[first_of_journal];
        state |= count;
        REQUIRE(pool.begin().error().is(std::errc::bad_message));
        REQUIRE(pool.quarantined());
    }
}

TEST_CASE("a transaction that is committed twice aborts") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    REQUIRE(aborts([&] {
        Transaction transaction = pool.begin().value();
        transaction.commit().value();
        static_cast<void>(transaction.commit());
    }));
}

TEST_CASE("a transaction of too many words changes none, and the pool stays sound") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    const Offset block = transact(pool, [](Transaction& transaction) -> Result<Offset> {
                             const Offset made = transaction.allocate(8);
                             transaction.init(transaction.at<Word>(made), 0);
                             return made;
                         }).value();
    for (const std::size_t words : {limits::journal_entries, limits::journal_entries + 1}) {
        Transaction transaction = pool.begin().value();
        for (std::size_t n = 1; n <= words; ++n) transaction.set(transaction.at<Word>(block), n);
        const Result<void> done = transaction.commit();
        REQUIRE(done.has_value() == (words == limits::journal_entries));
        if (!done) REQUIRE(done.error().is(std::errc::no_buffer_space));
        Transaction next = pool.begin().value();
        REQUIRE(get(next.at<Word>(block)) == limits::journal_entries);
    }
    pool.check().value();
}

TEST_CASE("an offset that leads nowhere reads as zeros, and the pool is quarantined at the end") {
    for (const Offset wrong :
         {Offset{0}, Offset{8}, Offset{300}, 100 * page, ~Offset{0}, ~Offset{7}, Offset{1} << 63}) {
        Zone zone = zone_for(4);
        const Pool pool = Pool::format(zone, 3).value();
        const Offset block = transact(pool, [](Transaction& transaction) -> Result<Offset> {
                                 return transaction.allocate(sizeof(Pair));
                             }).value();
        Transaction transaction = pool.begin().value();
        transaction.set(transaction.at<Pair>(block).left, 5);
        Pair& pair = transaction.at<Pair>(wrong);
        REQUIRE(get(pair.left) == 0);
        transaction.set(pair.left, 1);
        transaction.init(pair.right, 1);
        transaction.write(wrong, std::as_bytes(std::span{"text"}));
        REQUIRE(transaction.bytes(wrong, 16).empty());
        REQUIRE(get(pair.left) == 0);
        REQUIRE(transaction.failed());
        REQUIRE(transaction.commit().error().is(std::errc::bad_message));
        REQUIRE(pool.quarantined());
        REQUIRE(pool.begin().error().is(std::errc::bad_message));
        REQUIRE(pool.check().error().is(std::errc::bad_message));
        REQUIRE(Pool::attach(zone, pool.self()).error().is(std::errc::bad_message));
        REQUIRE(Pool::format(zone, 3).error().is(std::errc::file_exists));
        pool.rebuild().value();
        REQUIRE_FALSE(pool.quarantined());
        pool.check().value();
    }
}

TEST_CASE("a misaligned offset and a block that ends behind the pool lead nowhere") {
    Zone zone = zone_for(1);
    const Pool pool = Pool::format(zone, 3).value();
    for (const std::uint64_t within : {4UL, page - 8}) {
        pool.rebuild().value();
        Transaction transaction = pool.begin().value();
        const Offset block = transaction.allocate(page);
        static_cast<void>(transaction.at<Pair>(block + page - 16));
        REQUIRE_FALSE(transaction.failed());
        static_cast<void>(transaction.at<Pair>(block + within));
        REQUIRE(transaction.failed());
    }
}

TEST_CASE("a journal that no transaction wrote quarantines the pool and leads nowhere") {
    for (const auto& [count, offset] :
         {std::pair{Word{1}, Word{0}}, std::pair{Word{1}, Word{128}}, std::pair{Word{1}, Word{264}},
          std::pair{Word{1}, ~Word{7}}, std::pair{~Word{0}, Word{0}},
          std::pair{Word{limits::journal_entries + 1}, Word{0}}, std::pair{Word{1}, Word{8'001}}}) {
        Zone zone = zone_for(4);
        const Pool pool = Pool::format(zone, 3).value();
        auto* words = reinterpret_cast<Word*>(zone.payload().data());
        words[first_of_journal] = count;
        words[first_of_journal + 8] = offset;
        words[first_of_journal + 9] = ~Word{0};
        const Word magic = words[0];
        REQUIRE(pool.begin().error().is(std::errc::bad_message));
        REQUIRE(pool.quarantined());
        REQUIRE(words[0] == magic);
        REQUIRE(pool.lock().try_lock());
    }
}

TEST_CASE("zones too small, and rows out of range, make no pool") {
    Zone small = Zone::create("small", "pool/1", limits::min_zone_size).value();
    REQUIRE(Pool::format(small, 1).error().is(std::errc::no_space_on_device));
    Zone zone = zone_for(1, limits::max_counter_rows);
    REQUIRE(Pool::format(zone, 0).error().is(std::errc::invalid_argument));
    REQUIRE(
        Pool::format(zone, limits::max_counter_rows + 1).error().is(std::errc::invalid_argument));
    const Pool pool = Pool::format(zone, limits::max_counter_rows).value();
    REQUIRE(pool.statistics()->pages == 1);
    REQUIRE(pool.admit(limits::max_counter_rows - 1, {}));
    REQUIRE(pool.admit(limits::max_counter_rows, {}).error().is(std::errc::invalid_argument));
}

TEST_CASE("any change of any byte of a pool's header is refused") {
    Zone zone = zone_for(4);
    const Pool pool = Pool::format(zone, 3).value();
    for (std::byte& byte : zone.payload().first(128)) {
        for (int bit = 0; bit < 8; ++bit) {
            byte ^= std::byte{1} << bit;
            REQUIRE_FALSE(Pool::attach(zone, pool.self()));
            byte ^= std::byte{1} << bit;
        }
    }
    REQUIRE(Pool::attach(zone, pool.self()));
}
