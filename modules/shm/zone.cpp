module;
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "ringfort/try.h"
module ringfort.shm;

namespace ringfort::shm {
namespace {

// Everything in it follows from name, tag and size, so that attaching is comparing with the header
// that `create` would have written.
struct Header {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t header_bytes;
    std::uint64_t zone_bytes;
    std::array<char, limits::max_zone_name_bytes + 1> name;  // padded with NULs, at least one
    std::array<char, limits::max_zone_tag_bytes + 1> tag;
    std::array<std::byte, 104> reserved;  // zero
};
static_assert(sizeof(Header) == Zone::header_bytes);
static_assert(sizeof(Header) % zone_alignment == 0);
static_assert(limits::min_zone_size.count > sizeof(Header));

constexpr std::uint64_t magic = 0x656e'6f7a'5f66'7220;  // " rf_zone"

bool valid_text(std::string_view text, std::size_t max_bytes) {
    return text.size() <= max_bytes && text.find('\0') == text.npos;
}

Result<Header> header_of(std::string_view name, std::string_view tag, Bytes size) {
    if (name.empty() || !valid_text(name, limits::max_zone_name_bytes))
        return Error{"name a zone", std::errc::invalid_argument};
    if (!valid_text(tag, limits::max_zone_tag_bytes))
        return Error{"tag a zone", std::errc::invalid_argument};
    if (size < limits::min_zone_size) return Error{"size a zone", std::errc::invalid_argument};
    Header header{};
    header.magic = magic;
    header.layout_version = zone_layout_version;
    header.header_bytes = sizeof(Header);
    header.zone_bytes = size.count;
    std::copy(name.begin(), name.end(), header.name.begin());
    std::copy(tag.begin(), tag.end(), header.tag.begin());
    return header;
}

constexpr std::string_view what_compares = "attach a zone: ";  // the beginning of all its errors

Result<void> compare(const Header& found, const Header& expected) {
    if (found.magic != expected.magic) return Error{"attach a zone: magic", std::errc::bad_message};
    if (found.layout_version != expected.layout_version)
        return Error{"attach a zone: layout version", std::errc::protocol_error};
    if (found.header_bytes != expected.header_bytes || found.zone_bytes != expected.zone_bytes)
        return Error{"attach a zone: its size", std::errc::bad_message};
    if (found.reserved != expected.reserved || found.name.back() != 0 || found.tag.back() != 0)
        return Error{"attach a zone: header", std::errc::bad_message};
    if (found.name != expected.name)
        return Error{"attach a zone: another name", std::errc::invalid_argument};
    if (found.tag != expected.tag)
        return Error{"attach a zone: another tag", std::errc::invalid_argument};
    return {};
}

}  // namespace

Result<Zone> Zone::create(std::string_view name, std::string_view tag, Bytes size) {
    RF_LET(const Header header, header_of(name, tag, size));
    RF_LET(Mapping mapping, Mapping::create("ringfort zone " + std::string{name}, size));
    std::memcpy(mapping.bytes().data(), &header, sizeof header);
    return Zone{std::move(mapping), name, tag};
}

Result<Zone> Zone::attach(Fd memfd, std::string_view name, std::string_view tag) {
    RF_LET(Mapping mapping, Mapping::attach(std::move(memfd)));
    RF_LET(const Header expected, header_of(name, tag, Bytes{mapping.bytes().size()}));
    // Copied first: another process may change it while it is checked.
    Header found{};
    std::memcpy(&found, mapping.bytes().data(), sizeof found);
    RF_TRY(compare(found, expected));
    return Zone{std::move(mapping), name, tag};
}

Result<Zone> Zone::attach(Fd memfd) {
    RF_LET(Mapping mapping, Mapping::attach(std::move(memfd)));
    if (mapping.bytes().size() < sizeof(Header))
        return Error{"attach a zone: its size", std::errc::bad_message};
    Header found{};
    std::memcpy(&found, mapping.bytes().data(), sizeof found);
    const auto text = [](const auto& field) {
        return std::string{field.begin(), std::find(field.begin(), field.end(), '\0')};
    };
    const std::string name = text(found.name);
    const std::string tag = text(found.tag);
    RF_LET(const Header expected, header_of(name, tag, Bytes{mapping.bytes().size()}));
    RF_TRY(compare(found, expected));
    return Zone{std::move(mapping), name, tag};
}

Result<Zone> Zone::copy_of(const std::string& path) {
    const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return Error::last("open");
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return Error::last("fstat");
    const Bytes size{static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0))};
    if (!S_ISREG(status.st_mode) || size < limits::min_zone_size)
        return Error{"copy a zone", std::errc::invalid_argument};
    RF_LET(const Mapping mapping, Mapping::create("copy of a zone", size));
    for (std::size_t done = 0; done < size.count;) {
        const auto rest = mapping.bytes().subspan(done);
        const ssize_t some =
            ::pread(file.get(), rest.data(), rest.size(), static_cast<off_t>(done));
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return Error::last("read");
        if (some == 0) return Error{"copy a zone: its end", std::errc::bad_message};
        done += static_cast<std::size_t>(some);
    }
    RF_LET(Fd copy, duplicate(mapping.fd()));
    return attach(std::move(copy));
}

bool Zone::is_of_content(const Error& error) noexcept {
    return error.step().starts_with(what_compares);
}

bool Zone::sound() const noexcept {
    const Result<Header> written = header_of(name_, tag_, size());
    return written && std::memcmp(mapping_.bytes().data(), &*written, sizeof(Header)) == 0;
}

std::span<std::byte> Zone::payload() const noexcept {
    return mapping_.bytes().subspan(sizeof(Header));
}

std::uint64_t checksum_of(std::span<const std::byte> header) noexcept {
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;
    for (const std::byte byte : header)
        hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100'0000'01b3;
    return hash;
}

}  // namespace ringfort::shm
