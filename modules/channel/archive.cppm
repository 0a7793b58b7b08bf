module;
#include <sys/socket.h>
export module ringfort.channel:archive;

import ringfort.base;
import ringfort.std;
import :endpoint;
import :wire;

// Not exported: how a message's fields become bytes, and the other way round.
namespace ringfort::channel {

inline constexpr std::uint32_t max_error_number = 4'095;  // MAX_ERRNO of the kernel

// Writer and Reader have the same operations, so that the fields and the ranges of a message are
// written down once, in `fields`, for both directions.

class Writer {
public:
    template <class M>
    using Of = const M&;

    explicit Writer(Packet& packet) noexcept : packet_{packet} {}

    template <std::unsigned_integral N>
    void number(N value) {
        bytes(&value, sizeof value);
    }
    void string(const std::string& text, std::size_t max_bytes) {
        check(text.size() <= max_bytes);
        const std::size_t size = std::min(text.size(), max_bytes);
        number(static_cast<std::uint16_t>(size));
        bytes(text.data(), size);
    }
    void cut_string(const std::string& text, std::size_t max_bytes) {
        string(text.substr(0, max_bytes), max_bytes);
    }
    void duration(Milliseconds value) {
        check(value.count() >= 0 && value.count() <= std::numeric_limits<std::uint32_t>::max());
        number(static_cast<std::uint32_t>(value.count()));
    }
    void size(Bytes value) { number(value.count); }
    void flag(bool value) { number(static_cast<std::uint8_t>(value)); }
    void maybe(std::optional<std::uint32_t> value) {
        flag(value.has_value());
        number(value.value_or(0));
    }
    template <class E>
    void choice(E value, E last) {
        check(value <= last);
        number(static_cast<std::uint8_t>(value));
    }
    void numbers(const std::vector<std::uint32_t>& values, std::size_t most) {
        check(values.size() <= most);
        number(static_cast<std::uint16_t>(values.size()));
        bytes(values.data(), values.size() * sizeof values[0]);
    }
    void error_number(int value) { number(static_cast<std::uint32_t>(value)); }
    void level(log::Level value) { number(static_cast<std::uint8_t>(value)); }
    void address(const Address& value) {
        number(static_cast<std::uint16_t>(value.size()));
        bytes(value.data(), value.size());
    }
    void check(bool holds) noexcept { good_ = good_ && holds; }
    [[nodiscard]] bool good() const noexcept { return good_; }

private:
    void bytes(const void* data, std::size_t size) {
        const auto* first = static_cast<const std::byte*>(data);
        packet_.insert(packet_.end(), first, first + size);
    }

    Packet& packet_;
    bool good_ = true;
};

class Reader {
public:
    template <class M>
    using Of = M&;

    explicit Reader(std::span<const std::byte> rest) noexcept : rest_{rest} {}

    template <std::unsigned_integral N>
    void number(N& value) {
        bytes(&value, sizeof value);
    }
    void string(std::string& text, std::size_t max_bytes) {
        std::uint16_t size = 0;
        number(size);
        check(size <= max_bytes && size <= rest_.size());
        text.resize(good_ ? size : 0);
        bytes(text.data(), text.size());
    }
    void cut_string(std::string& text, std::size_t max_bytes) { string(text, max_bytes); }
    void duration(Milliseconds& value) {
        std::uint32_t count = 0;
        number(count);
        value = Milliseconds{count};
    }
    void size(Bytes& value) { number(value.count); }
    void flag(bool& value) {
        std::uint8_t byte = 0;
        number(byte);
        check(byte <= 1);
        value = byte == 1;
    }
    void maybe(std::optional<std::uint32_t>& value) {
        bool has = false;
        std::uint32_t given = 0;
        flag(has);
        number(given);
        check(has || given == 0);
        if (has) value = given;
    }
    template <class E>
    void choice(E& value, E last) {
        std::uint8_t byte = 0;
        number(byte);
        check(byte <= static_cast<std::uint8_t>(last));
        value = good_ ? static_cast<E>(byte) : E{};
    }
    void numbers(std::vector<std::uint32_t>& values, std::size_t most) {
        std::uint16_t count = 0;
        number(count);
        check(count <= most && count * sizeof values[0] <= rest_.size());
        values.resize(good_ ? count : 0);
        bytes(values.data(), values.size() * sizeof values[0]);
    }
    void error_number(int& value) {
        std::uint32_t count = 0;
        number(count);
        check(count <= max_error_number);
        value = good_ ? static_cast<int>(count) : 0;
    }
    void level(log::Level& value) {
        std::uint8_t count = 0;
        number(count);
        check(count <= static_cast<std::uint8_t>(log::Level::error));
        if (good_) value = static_cast<log::Level>(count);
    }
    void address(Address& value) {
        sockaddr_storage storage{};
        std::uint16_t size = 0;
        number(size);
        check(size <= sizeof storage && size <= rest_.size());
        if (!good_) return;
        bytes(&storage, size);
        value = Address::from(reinterpret_cast<const sockaddr*>(&storage), size);
    }
    void check(bool holds) noexcept { good_ = good_ && holds; }
    [[nodiscard]] bool good() const noexcept { return good_; }
    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

private:
    void bytes(void* data, std::size_t size) {
        check(size <= rest_.size());
        if (!good_ || size == 0) return;
        std::memcpy(data, rest_.data(), size);
        rest_ = rest_.subspan(size);
    }

    std::span<const std::byte> rest_;
    bool good_ = true;
};

}  // namespace ringfort::channel
