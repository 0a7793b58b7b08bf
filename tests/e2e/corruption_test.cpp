// A zone that is written over by a bug of whoever has it, under a server that limits its clients in
// it.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps.h"
#include "child.h"
#include "config.h"
#include "connection.h"
#include "deadline.h"
#include "endpoint.h"
#include "files.h"
#include "limited_echo.h"
#include "owned_fd.h"
#include "processes.h"
#include "server.h"
#include "text.h"
#include "upgradable.h"

namespace e2e {
namespace {

/// A zone's bytes, found and written as a stray store does it.
class Bytes {
public:
    explicit Bytes(const std::string& file) {
        const OwnedFd memory{::open(file.c_str(), O_RDWR | O_CLOEXEC)};
        REQUIRE(memory);
        struct stat status{};
        REQUIRE(::fstat(memory.get(), &status) == 0);
        const auto size = static_cast<std::size_t>(status.st_size);
        void* const at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
        REQUIRE(at != MAP_FAILED);
        bytes_ = {static_cast<unsigned char*>(at), size};
    }
    ~Bytes() { ::munmap(bytes_.data(), bytes_.size()); }
    Bytes(const Bytes&) = delete;

    // What lies where: modules/shm/layout.cppm.
    static constexpr std::size_t pool = 256;  // behind the zone's header
    static constexpr std::size_t lock = pool + 128;
    static constexpr std::size_t journal = lock + 128;

    [[nodiscard]] std::span<unsigned char> all() const { return bytes_; }
    [[nodiscard]] std::uint64_t word(std::size_t at) const {
        std::uint64_t value = 0;
        std::memcpy(&value, bytes_.subspan(at, sizeof value).data(), sizeof value);
        return value;
    }
    void put(std::size_t at, std::uint64_t value) const {
        std::memcpy(bytes_.subspan(at, sizeof value).data(), &value, sizeof value);
    }
    void put_half(std::size_t at, std::uint32_t value) const {
        std::memcpy(bytes_.subspan(at, sizeof value).data(), &value, sizeof value);
    }
    /// Returns where the descriptors of the pages are of which blocks are taken.
    [[nodiscard]] std::vector<std::size_t> block_pages() const {
        constexpr unsigned char blocks = 4;
        constexpr std::size_t offsets = pool + 48;  // of what follows the pool's header
        std::vector<std::size_t> found;
        for (std::size_t at = pool + word(offsets + 32); at < pool + word(offsets + 40); at += 64)
            if (bytes_[at] == blocks) found.push_back(at);
        return found;
    }

private:
    std::span<unsigned char> bytes_;
};

constexpr const char* reported = "zone limits: what is in it is corrupted";

struct Limited {
    int grace_ms;
    TempDir dir;
    Config config = limited("connections = 4\n");
    std::string app = echo_app();
    Server server{app, with_control(), dir};
    Endpoint endpoint = server.at("echo");
    std::vector<Connection> held = enter(endpoint, 5);
    std::vector<pid_t> workers = server.wait_workers(2);

    explicit Limited(int orphan_grace_ms = 5'000) : grace_ms{orphan_grace_ms} {
        REQUIRE(held.size() == 4);
    }
    [[nodiscard]] Config& with_control() {
        config.orphan_grace_ms = grace_ms;
        config.control = dir.file("control.sock");
        config.respawn_backoff_min_ms = 10;
        return config;
    }
    [[nodiscard]] Bytes zone() const { return Bytes{zone_file(server.master(), "limits")}; }
    [[nodiscard]] std::string ctl_zones() const {
        return ctl(app, *config.control, {"zones"}).output;
    }
    /// New clients take room, and those that go give it back.
    void have_visitors() {
        for (int i = 2; i < 12; ++i)
            from("127.0.0." + std::to_string(i), endpoint).echo("without a limit");
    }
    void kill_a_worker() {
        const auto before = server.wait_workers(2);
        ::kill(before.at(0), SIGKILL);
        CHECK(eventually(soon(), [&] { return !is_running(before.at(0)); }));
        CHECK(eventually(later(), [&] { return server.wait_workers(2, later()) != before; }));
    }
    [[nodiscard]] bool limits(const std::string& client) const {
        std::vector<Connection> entered;
        for (int i = 0; i < 6; ++i) {
            Connection one = from(client, endpoint);
            try {
                one.echo("may I");
                entered.push_back(std::move(one));
            } catch (const NetError&) {
                // It was refused.
            }
        }
        return entered.size() == 4;
    }
};

TEST_CASE("a zone that is corrupted is reported, done without, and made anew by a reload") {
    Limited limited;
    {
        const Bytes zone = limited.zone();
        SECTION("the lock's word: one that no owner wrote") {
            zone.put_half(Bytes::lock, 0x7ff);
        }
        SECTION("the journal's state: more changes than there is room for") {
            zone.put(Bytes::journal, zone.word(Bytes::journal) | 0xffff);
        }
        SECTION("the journal's state: changes of a transaction that there was not") {
            zone.put(Bytes::journal, 0x7777'0000'0003);
        }
        SECTION("the descriptors of pages") {
            const auto pages = zone.block_pages();
            REQUIRE_FALSE(pages.empty());
            for (const std::size_t page : pages) zone.put_half(page, 0x77);
        }
        SECTION("the header of the zone") {
            std::ranges::fill(zone.all().first(Bytes::pool), 0);
        }
        SECTION("the name in it") {
            zone.all()[24] = 'L';
        }
        SECTION("the header of the pool") {
            std::ranges::fill(zone.all().subspan(Bytes::pool, 128), 0xa5);
        }
        SECTION("all but the flag of who has found it") {
            for (const auto& part :
                 {zone.all().first(Bytes::journal + 8), zone.all().subspan(Bytes::journal + 16)})
                std::ranges::fill(part, 0xa5);
        }
    }
    limited.have_visitors();
    limited.server.log().wait_for(reported);
    CHECK(limited.server.workers() == limited.workers);  // nobody has died of it
    CHECK(has(limited.ctl_zones(), "corrupted: a reload makes it anew"));
    CHECK(enter(limited.endpoint, 8).size() == 8);
    CHECK(still_served(limited.held) == 4);
    limited.kill_a_worker();  // another one does without, too
    const std::size_t left = still_served(limited.held);
    CHECK(enter(limited.endpoint, 8).size() == 8);
    CHECK(limited.server.log().find(reported).size() == 1);
    limited.server.reload();
    CHECK(has(limited.ctl_zones(), " pages free"));
    CHECK(eventually(soon(), [&] {  // those before may accept for a moment
        return limited.server.log().find("] draining ").size() == 2;
    }));
    CHECK(enter(limited.endpoint, 6).size() == 4);
    CHECK(still_served(limited.held) == left);
    CHECK(limited.server.log().find(reported).size() == 1);
}

TEST_CASE("the workers' own zone, written over, is made anew by a reload as well") {
    Limited limited;
    limited.held.clear();
    {
        const Bytes zone{zone_file(limited.server.master(), "ringfort.workers")};
        SECTION("what is in it") {
            std::ranges::fill(zone.all().subspan(Bytes::pool, 64), 0xa5);
        }
        SECTION("its header, without which nobody can be respawned") {
            std::ranges::fill(zone.all().first(Bytes::pool), 0);
            ::kill(limited.workers[0], SIGKILL);
            limited.server.log().wait_for("zone ringfort.workers (a reload makes it anew): ");
        }
    }
    limited.server.reload();
    CHECK(limited.server.wait_workers(2, later()) != limited.workers);
    limited.kill_a_worker();
    from("127.0.0.9", limited.endpoint).echo("hello");
}

TEST_CASE("zones whose headers are written over keep no successor from the rest") {
    const auto spoil = [](pid_t master) {
        for (const char* name : {"limits", "ringfort.workers"})
            std::ranges::fill(Bytes{zone_file(master, name)}.all().first(Bytes::pool), 0);
    };
    const auto limits_again = [](const Endpoint& endpoint) {
        return eventually(later(), [&] {  // those before may accept for a moment
            return enter(endpoint, 6).size() == 4;
        });
    };
    SECTION("an upgrade") {
        Upgradable app{echo_app()};
        app.config.more = limited("connections = 4\n").more;
        app.start();
        const Endpoint endpoint = app.server->at("echo");
        Connection held = Connection::to(endpoint);
        held.echo("before");
        spoil(app.server->master());
        app.upgrade();
        held.echo("after");
        held.close();
        CHECK(limits_again(endpoint));
    }
    SECTION("a master that takes over from a dead one") {
        Limited limited{30'000};
        spoil(limited.server.master());
        limited.config.listeners[0].address = limited.endpoint.text();
        limited.server.kill_master();
        {
            Server second{limited.app, limited.config, limited.dir};
            CHECK(still_served(limited.held) == 4);
            limited.held.clear();
            CHECK(limits_again(limited.endpoint));
        }
        CHECK(eventually(soon(), [&] { return limited.server.nothing_left(); }));
    }
}

TEST_CASE("whatever bytes of a zone are corrupted, workers live, are respawned, and reloads work") {
    Limited limited;
    limited.held.clear();
    int found = 0;
    for (unsigned seed = 1; seed <= 12; ++seed) {
        INFO("seed " << seed);
        const std::size_t mark = limited.server.log().mark();
        {
            const Bytes zone = limited.zone();
            std::mt19937 random{seed};
            const std::size_t begin = random() % 65'536;
            const std::size_t most = seed % 2 == 0 ? 64 : 40'000;
            for (unsigned char& byte : zone.all().subspan(begin, random() % most))
                byte = seed % 3 == 0 ? 0xff : static_cast<unsigned char>(random());
        }
        for (int i = 0; i < 5; ++i) (void)try_to_enter(limited.endpoint);
        limited.kill_a_worker();
        const bool was_found = !limited.server.log().find(reported, mark).empty();
        const std::size_t reloaded = limited.server.log().mark();
        limited.server.reload();
        (void)limited.server.wait_workers(2, later());
        limited.server.log().wait_for("of generation " + std::to_string(seed) + " exited",
                                      reloaded);
        if (!was_found) continue;
        ++found;
        CHECK(limited.limits("127.0.1." + std::to_string(seed)));
    }
    CHECK(found >= 3);
    CHECK(limited.server.log().find("killed by signal 11").empty());
    CHECK(limited.server.log().find("killed by signal 6").empty());
}

}  // namespace
}  // namespace e2e
