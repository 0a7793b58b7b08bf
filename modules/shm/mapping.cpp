module;
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

constexpr std::size_t page = 4'096;
constexpr std::size_t huge_page = 2ULL << 20;

constexpr std::size_t rounded_up(std::size_t number, std::size_t unit) {
    return (number + unit - 1) / unit * unit;
}

Result<void> check_size(Bytes size) {
    if (size.count == 0) return Error{"map a zone: no bytes", std::errc::invalid_argument};
    if (size > limits::max_zone_size) return Error{"map a zone: size", std::errc::file_too_large};
    return {};
}

}  // namespace

Result<Mapping> Mapping::create(std::string_view name, Bytes size) {
    RF_TRY(check_size(size));
    if (name.find('\0') != name.npos) return Error{"name a memfd", std::errc::invalid_argument};
    Fd memfd{::memfd_create(std::string{name}.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!memfd) return Error::last("memfd_create");
    int failure = 0;
    do {
        failure = ::ftruncate(memfd.get(), static_cast<off_t>(size.count));
    } while (failure != 0 && errno == EINTR);
    if (failure != 0) return Error::last("ftruncate a memfd");
    if (::fcntl(memfd.get(), F_ADD_SEALS, seals) != 0) return Error::last("fcntl(F_ADD_SEALS)");
    return map(std::move(memfd), size);
}

Result<Mapping> Mapping::attach(Fd memfd) {
    const int found = ::fcntl(memfd.get(), F_GET_SEALS);
    if (found < 0) return Error::last("fcntl(F_GET_SEALS)");
    if ((found & seals) != seals)
        return Error{"attach a memfd that is not sealed", std::errc::operation_not_permitted};
    // Asked after the seals: from here on it cannot change.
    struct stat status{};
    if (::fstat(memfd.get(), &status) != 0) return Error::last("fstat a memfd");
    const Bytes size{static_cast<std::uint64_t>(status.st_size)};
    RF_TRY(check_size(size));
    return map(std::move(memfd), size);
}

Result<Mapping> Mapping::map(Fd memfd, Bytes size) {
    const std::size_t pages = rounded_up(size.count, page);
    const std::size_t alignment = pages >= huge_page ? huge_page : page;
    const std::size_t whole = pages + alignment + page;
    void* const around =
        ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (around == MAP_FAILED) return Error::last("mmap a zone's guards");
    const std::span<std::byte> reserved{static_cast<std::byte*>(around), whole};
    std::byte* const place = reinterpret_cast<std::byte*>(
        rounded_up(reinterpret_cast<std::uintptr_t>(around) + page, alignment));
    if (::mmap(place, size.count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memfd.get(), 0) ==
        MAP_FAILED) {
        const Error failed = Error::last("mmap a memfd");
        ::munmap(around, whole);
        return failed;
    }
    if (pages >= huge_page) (void)::madvise(place, size.count, MADV_HUGEPAGE);
    return Mapping{std::move(memfd), {place, size.count}, reserved};
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
    if (this != &other) {
        unmap();
        memfd_ = std::move(other.memfd_);
        bytes_ = std::exchange(other.bytes_, {});
        reserved_ = std::exchange(other.reserved_, {});
    }
    return *this;
}

void Mapping::unmap() noexcept {
    if (!reserved_.empty()) ::munmap(reserved_.data(), reserved_.size());
    bytes_ = reserved_ = {};
}

}  // namespace ringfort::shm
