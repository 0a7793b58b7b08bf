#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../temp_dir.h"

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

namespace {

std::size_t open_descriptors() {
    std::filesystem::directory_iterator entries{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

Fd copy_of(RawFd fd) {
    return Fd{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
}

Result<Zone> attach(const Zone& zone) {
    return Zone::attach(copy_of(zone.fd()), zone.name(), zone.tag());
}

constexpr Bytes size{64 * 1024};

}  // namespace

TEST_CASE("an attached zone is the zone that was created, at another address") {
    const Zone zone = Zone::create("limits", "rates/1", size).value();
    const Zone other = attach(zone).value();
    REQUIRE(other.name() == "limits");
    REQUIRE(other.tag() == "rates/1");
    REQUIRE(other.size() == size);
    REQUIRE(other.payload().size() == size.count - Zone::header_bytes);
    REQUIRE(zone.payload().data() != other.payload().data());
    for (const Zone* each : {&zone, &other})
        REQUIRE(reinterpret_cast<std::uintptr_t>(each->payload().data()) % zone_alignment == 0);
    zone.payload().front() = std::byte{1};
    zone.payload().back() = std::byte{2};
    REQUIRE(other.payload().front() == std::byte{1});
    REQUIRE(other.payload().back() == std::byte{2});
    zone.payload().front() = std::byte{0};
    REQUIRE(attach(zone));  // the payload is no part of the header
}

TEST_CASE("names, tags and sizes at their bounds make zones, those past them do not") {
    const std::string name(limits::max_zone_name_bytes, 'n');
    const std::string tag(limits::max_zone_tag_bytes, 't');
    const Zone zone = Zone::create(name, tag, limits::min_zone_size).value();
    REQUIRE(attach(zone));
    REQUIRE(Zone::create("z", "", Bytes{limits::min_zone_size.count + 1}));
    const auto refused = [](std::string_view a, std::string_view b, Bytes bytes) {
        const auto result = Zone::create(a, b, bytes);
        return !result && result.error().is(std::errc::invalid_argument);
    };
    REQUIRE(refused(name + "n", tag, size));
    REQUIRE(refused("", tag, size));
    REQUIRE(refused({"a\0b", 3}, tag, size));
    REQUIRE(refused(name, tag + "t", size));
    REQUIRE(refused(name, {"a\0b", 3}, size));
    REQUIRE(refused(name, tag, Bytes{limits::min_zone_size.count - 1}));
    REQUIRE(refused(name, tag, Bytes{0}));
    REQUIRE(Zone::create(name, tag, Bytes{limits::max_zone_size.count + 1})
                .error()
                .is(std::errc::file_too_large));
}

TEST_CASE("a zone with another name or tag is refused") {
    const Zone zone = Zone::create("limits", "rates/1", size).value();
    const std::size_t before = open_descriptors();
    for (const auto& [name, tag] :
         {std::pair{"limit", "rates/1"}, std::pair{"limits2", "rates/1"},
          std::pair{"limits", "rates/2"}, std::pair{"limits", ""}, std::pair{"", "rates/1"}}) {
        const auto other = Zone::attach(copy_of(zone.fd()), name, tag);
        REQUIRE_FALSE(other);
        REQUIRE(other.error().is(std::errc::invalid_argument));
    }
    REQUIRE(open_descriptors() == before);
}

TEST_CASE("a zone whose memfd has another size than its header says is refused") {
    const Zone zone = Zone::create("limits", "rates/1", size).value();
    for (const std::uint64_t other : {size.count + 1, size.count - 1, 2 * size.count}) {
        const Mapping forged = Mapping::create("forged", Bytes{other}).value();
        const Mapping whole = Mapping::attach(copy_of(zone.fd())).value();
        std::memcpy(forged.bytes().data(), whole.bytes().data(), Zone::header_bytes);
        REQUIRE(Zone::attach(copy_of(forged.fd()), "limits", "rates/1")
                    .error()
                    .is(std::errc::bad_message));
    }
}

TEST_CASE("a memfd too small for a header, unsealed or empty is refused") {
    const Mapping tiny = Mapping::create("tiny", Bytes{16}).value();
    REQUIRE_FALSE(Zone::attach(copy_of(tiny.fd()), "limits", "rates/1"));
    const Mapping zeros = Mapping::create("zeros", size).value();
    REQUIRE(
        Zone::attach(copy_of(zeros.fd()), "limits", "rates/1").error().is(std::errc::bad_message));
    Fd unsealed{::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    REQUIRE(::ftruncate(unsealed.get(), size.count) == 0);
    REQUIRE(Zone::attach(std::move(unsealed), "limits", "rates/1")
                .error()
                .is(std::errc::operation_not_permitted));
}

TEST_CASE("any change of any header byte is refused") {
    const Zone zone = Zone::create("limits", "rates/1", size).value();
    const Mapping raw = Mapping::attach(copy_of(zone.fd())).value();
    const std::span header = raw.bytes().first(Zone::header_bytes);
    for (std::byte& byte : header) {
        for (int bit = 0; bit < 8; ++bit) {
            byte ^= std::byte{1} << bit;
            REQUIRE_FALSE(attach(zone));
            REQUIRE_FALSE(zone.sound());
            byte ^= std::byte{1} << bit;
        }
    }
    REQUIRE(attach(zone));
    REQUIRE(zone.sound());
}

TEST_CASE("random damage to a header is refused") {
    std::mt19937 random{20'260'102};
    const Zone zone = Zone::create("limits", "rates/1", size).value();
    const Mapping raw = Mapping::attach(copy_of(zone.fd())).value();
    const std::span header = raw.bytes().first(Zone::header_bytes);
    std::array<std::byte, Zone::header_bytes> intact{};
    std::memcpy(intact.data(), header.data(), intact.size());
    const std::size_t before = open_descriptors();
    for (int round = 0; round < 5'000; ++round) {
        for (std::size_t left = 1 + random() % 16; left > 0; --left)
            header[random() % header.size()] = static_cast<std::byte>(random());
        const bool same = std::memcmp(header.data(), intact.data(), intact.size()) == 0;
        REQUIRE(attach(zone).has_value() == same);
        std::memcpy(header.data(), intact.data(), intact.size());
    }
    REQUIRE(open_descriptors() == before);
}

TEST_CASE("a zone is copied out of a file, and out of a process that has it") {
    Zone zone = Zone::create("limits", "limits/1", Bytes{65'536}).value();
    zone.payload()[100] = std::byte{42};
    const std::string live = "/proc/self/fd/" + std::to_string(zone.fd());
    const testing::TempDir directory;
    const std::string saved = directory.file("saved");
    std::filesystem::copy_file(live, saved);
    for (const std::string& path : {live, saved}) {
        const Zone copy = Zone::copy_of(path).value();
        CHECK(copy.name() == "limits");
        CHECK(copy.tag() == "limits/1");
        CHECK(copy.payload()[100] == std::byte{42});
        copy.payload()[100] = std::byte{1};
    }
    CHECK(zone.payload()[100] == std::byte{42});
    CHECK(Zone::copy_of(directory.file("none")).error().is(std::errc::no_such_file_or_directory));
    CHECK(Zone::copy_of("/dev/zero").error().is(std::errc::invalid_argument));
    std::filesystem::resize_file(saved, 100);
    CHECK(Zone::copy_of(saved).error().is(std::errc::invalid_argument));
    std::filesystem::resize_file(saved, 10'000);
    CHECK(Zone::copy_of(saved).error().is(std::errc::bad_message));
}
