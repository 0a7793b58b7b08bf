#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

import ringfort.base;
import ringfort.shm;

using namespace ringfort;
using namespace ringfort::shm;

namespace {

std::size_t open_descriptors() {
    std::filesystem::directory_iterator entries{"/proc/self/fd"};
    return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

Fd memfd_with(int seals, off_t size) {
    Fd memfd{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    REQUIRE(memfd);
    REQUIRE(::ftruncate(memfd.get(), size) == 0);
    REQUIRE(::fcntl(memfd.get(), F_ADD_SEALS, seals) == 0);
    return memfd;
}

Fd copy_of(const Mapping& mapping) {
    return Fd{::fcntl(mapping.fd(), F_DUPFD_CLOEXEC, 0)};
}

bool mapped(const std::string& name) {
    std::ifstream maps{"/proc/self/maps"};
    const std::string all{std::istreambuf_iterator<char>{maps}, {}};
    return all.find(name) != all.npos;
}

// Runs `body` in a child process and returns its exit code, or 1000 + the signal that ended it.
template <class Body>
int in_child(Body body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) ::_exit(body());
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

constexpr int all_seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

}  // namespace

TEST_CASE("a new mapping has exactly the size asked for and holds zeros") {
    for (const std::uint64_t size : {1UL, 4'095UL, 4'096UL, 4'097UL, 1UL << 20}) {
        const auto mapping = Mapping::create("zeros", Bytes{size});
        REQUIRE(mapping);
        REQUIRE(mapping->bytes().size() == size);
        REQUIRE(std::ranges::all_of(mapping->bytes(),
                                    [](std::byte byte) { return byte == std::byte{0}; }));
    }
}

TEST_CASE("two mappings of one memfd share their bytes at different addresses") {
    const Mapping first = Mapping::create("shared", Bytes{8'192}).value();
    const Mapping second = Mapping::attach(copy_of(first)).value();
    REQUIRE(first.bytes().data() != second.bytes().data());
    REQUIRE(second.bytes().size() == 8'192);
    first.bytes()[8'191] = std::byte{42};
    REQUIRE(second.bytes()[8'191] == std::byte{42});
}

TEST_CASE("nobody can resize a mapping's memfd, nor add seals to it") {
    const Mapping mapping = Mapping::create("sealed", Bytes{8'192}).value();
    for (const off_t size : {0, 4'096, 16'384}) {
        REQUIRE(::ftruncate(mapping.fd(), size) != 0);
        REQUIRE(errno == EPERM);
    }
    REQUIRE(::fcntl(mapping.fd(), F_ADD_SEALS, F_SEAL_WRITE) != 0);
    REQUIRE((::fcntl(mapping.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a descriptor that is not a fully sealed memfd is refused and closed") {
    const std::size_t before = open_descriptors();
    for (const int seals : {0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_GROW,
                            F_SEAL_GROW | F_SEAL_SEAL, F_SEAL_SHRINK | F_SEAL_SEAL})
        REQUIRE(Mapping::attach(memfd_with(seals, 4'096))
                    .error()
                    .is(std::errc::operation_not_permitted));
    REQUIRE(Mapping::attach(memfd_with(all_seals, 4'096)));
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    REQUIRE(Mapping::attach(Fd{ends[0]}).error().is(std::errc::invalid_argument));
    REQUIRE(Mapping::attach(Fd{ends[1]}).error().is(std::errc::invalid_argument));
    REQUIRE_FALSE(Mapping::attach(Fd{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)}));
    REQUIRE(Mapping::attach(Fd{}).error().is(std::errc::bad_file_descriptor));
    REQUIRE(open_descriptors() == before);
}

TEST_CASE("a memfd sealed against writing is refused") {
    REQUIRE_FALSE(Mapping::attach(memfd_with(all_seals | F_SEAL_WRITE, 4'096)));
}

TEST_CASE("sizes and names out of range are refused") {
    REQUIRE(Mapping::create("none", Bytes{0}).error().is(std::errc::invalid_argument));
    REQUIRE(Mapping::create("big", Bytes{limits::max_zone_size.count + 1})
                .error()
                .is(std::errc::file_too_large));
    REQUIRE(Mapping::create("big", Bytes{~0ULL}).error().is(std::errc::file_too_large));
    REQUIRE(Mapping::attach(memfd_with(all_seals, 0)).error().is(std::errc::invalid_argument));
    const auto over = static_cast<off_t>(limits::max_zone_size.count + 1);
    REQUIRE(Mapping::attach(memfd_with(all_seals, over)).error().is(std::errc::file_too_large));
    REQUIRE(
        Mapping::create(std::string(250, 'n'), Bytes{1}).error().is(std::errc::invalid_argument));
    REQUIRE(
        Mapping::create(std::string{"a\0b", 3}, Bytes{1}).error().is(std::errc::invalid_argument));
}

TEST_CASE("the largest mapping is a matter of address space, and its lack is an error") {
    REQUIRE(Mapping::create("largest", limits::max_zone_size));
    const int code = in_child([] {
        unsigned long pages = 0;
        std::FILE* statm = std::fopen("/proc/self/statm", "re");
        if (statm == nullptr || std::fscanf(statm, "%lu", &pages) != 1) return 1;
        // A gigabyte more than is mapped already, which under a sanitizer is much.
        const rlim_t bytes = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (1UL << 30);
        const rlimit limit{bytes, bytes};
        if (::setrlimit(RLIMIT_AS, &limit) != 0) return 2;
        const auto mapping = Mapping::create("largest", limits::max_zone_size);
        if (mapping) return 3;
        return mapping.error().is(std::errc::not_enough_memory) ? 0 : 4;
    });
    REQUIRE(code == 0);
}

TEST_CASE("a full descriptor table is an error, not a crash") {
    rlimit whole{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &whole) == 0);
    const rlimit none{0, whole.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const auto mapping = Mapping::create("no room", Bytes{4'096});
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &whole) == 0);
    REQUIRE(mapping.error().is(std::errc::too_many_files_open));
}

TEST_CASE("a mapping moves without moving its bytes, and goes with its owner") {
    const std::size_t before = open_descriptors();
    {
        Mapping first = Mapping::create("mover-one", Bytes{4'096}).value();
        const std::byte* address = first.bytes().data();
        Mapping second = Mapping::create("mover-two", Bytes{4'096}).value();
        REQUIRE(mapped("mover-two"));
        second = std::move(first);
        REQUIRE_FALSE(mapped("mover-two"));
        REQUIRE(second.bytes().data() == address);
        REQUIRE(mapped("mover-one"));
        const Mapping third = std::move(second);
        REQUIRE(third.bytes().data() == address);
    }
    REQUIRE_FALSE(mapped("mover-one"));
    REQUIRE(open_descriptors() == before);
}

TEST_CASE("what lies beside a mapping is nobody's to touch") {
    for (const std::uint64_t size :
         {std::uint64_t{4'096}, std::uint64_t{5'000}, std::uint64_t{4} << 20}) {
        const Mapping mapping = Mapping::create("guarded", Bytes{size}).value();
        const auto bytes = mapping.bytes();
        bytes.front() = bytes.back() = std::byte{1};
        const std::size_t mapped = (size + 4'095) / 4'096 * 4'096;
        const auto touching = [&](std::byte* at) {
            const pid_t child = ::fork();
            if (child == 0) {
                ::signal(SIGSEGV, SIG_DFL);
                *const_cast<volatile std::byte*>(at) = std::byte{1};
                ::_exit(0);
            }
            int status = 0;
            REQUIRE(::waitpid(child, &status, 0) == child);
            return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        };
        INFO("size " << size);
        CHECK(touching(bytes.data() - 1) == SIGSEGV);
        CHECK(touching(bytes.data() + mapped) == SIGSEGV);
        CHECK(touching(bytes.data() + mapped - 1) == 0);
    }
}

TEST_CASE("a large mapping lies where huge pages can, and asks for them") {
    const Mapping mapping = Mapping::create("huge", Bytes{4ULL << 20}).value();
    CHECK(reinterpret_cast<std::uintptr_t>(mapping.bytes().data()) % (2ULL << 20) == 0);
    std::ifstream maps{"/proc/self/smaps"};
    bool here = false;
    bool asked = false;
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:huge") != line.npos) here = true;
        if (here && line.starts_with("VmFlags:")) {
            asked = line.find(" hg") != line.npos;
            break;
        }
    }
    CHECK(here);
    CHECK(asked);
}
