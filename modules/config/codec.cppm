export module ringfort.config:codec;

import ringfort.base;
import ringfort.std;
import :node;
import :report;

export namespace ringfort::config {

/// What is asked of a key besides its type. Bounds are inclusive and in the key's unit: the
/// number, milliseconds, bytes; of a string its length in bytes. Of an array they bound each item.
struct Options {
    bool required = false;
    std::optional<std::int64_t> min = {};
    std::optional<std::int64_t> max = {};
    std::size_t min_items = 0;
    std::size_t max_items = limits::max_config_items;
};

/// A value on its way into a member, and where its problems go.
struct Input {
    const Node& node;
    std::string_view key;
    const Options& options;
    Report& report;
    std::size_t item = 0;  ///< of an array, from 1; 0 for the key itself

    /// Returns "`key`" or "item 3 of `key`", the subject of a message.
    [[nodiscard]] std::string subject() const;
    /// Reports "subject complaint"; returns false.
    bool fail(std::string_view complaint, std::string help = {}) const;
    /// Reports that something else was expected: "must be `wanted`, not a string".
    bool wrong_type(std::string_view wanted, std::string help = {}) const;
    /// Returns "write key = literal", or "write literal" for an item.
    [[nodiscard]] std::string write(std::string_view literal) const;
};

// The bodies of the codecs below, for codecs of other types to build on. Each reports what is
// wrong and then returns false, with `out` as it was.

/// Reads true or false.
bool read_boolean(const Input& input, bool& out);
/// Reads an integer that is within its type's range and the options'.
bool read_integer(const Input& input, std::int64_t least, std::int64_t most, std::int64_t& out);
/// Reads an integer of milliseconds, up to limits::max_duration_ms.
bool read_milliseconds(const Input& input, Milliseconds& out);
/// Reads an integer of bytes or text with a unit.
bool read_bytes(const Input& input, Bytes& out);
/// Reads text without NUL; the options bound its length in bytes.
bool read_string(const Input& input, std::string& out);
/// Reads an address as `Address::parse` takes it.
bool read_address(const Input& input, Address& out);
/// Reads one of `names`; gives its index.
bool read_name(const Input& input, const std::vector<std::string>& names, std::size_t& out);
/// Checks that the value is an array of as many items as the options allow.
bool check_array(const Input& input);

/// Writes a TOML string with its quotes; `parse` gives back the same bytes. `text` is UTF-8.
[[nodiscard]] std::string quote(std::string_view text);
/// Writes an integer with an underscore at every thousand.
[[nodiscard]] std::string grouped(std::int64_t number);
/// Writes bounds for people: "1 to 256", "at least 1", "up to 63"; empty without any.
[[nodiscard]] std::string range_text(std::optional<std::int64_t> min,
                                     std::optional<std::int64_t> max, std::string_view unit);

/// Reads and writes members of type T. Applications may specialise it for types of their own:
/// `type` and `range` are shown in the reference; `read` reports problems through its input and
/// then returns false; `write` returns TOML that `read` takes, nothing if there is no value.
template <class T>
struct Codec;

/// A type that can be a table's member.
template <class T>
concept Codable =
    std::default_initializable<T> && requires(const Codec<T>& codec, T& value, const Input& input) {
        { codec.read(input, value) } -> std::same_as<bool>;
        { codec.write(value) } -> std::same_as<std::optional<std::string>>;
        { codec.type() } -> std::same_as<std::string>;
        { codec.range(input.options) } -> std::same_as<std::string>;
    };

template <>
struct Codec<bool> {
    [[nodiscard]] std::string type() const { return "boolean"; }
    [[nodiscard]] std::string range(const Options&) const { return ""; }
    bool read(const Input& input, bool& out) const { return read_boolean(input, out); }
    [[nodiscard]] std::optional<std::string> write(bool value) const {
        return value ? "true" : "false";
    }
};

/// TOML's integers have 64 bits with sign: larger unsigned ones cannot be written.
template <std::integral T>
struct Codec<T> {
    static constexpr std::int64_t least = std::is_signed_v<T> ? std::numeric_limits<T>::min() : 0;
    static constexpr std::int64_t most =
        std::in_range<std::int64_t>(std::numeric_limits<T>::max())
            ? static_cast<std::int64_t>(std::numeric_limits<T>::max())
            : std::numeric_limits<std::int64_t>::max();

    [[nodiscard]] std::string type() const { return "integer"; }
    [[nodiscard]] std::string range(const Options& o) const {
        return range_text(o.min                 ? o.min
                          : std::is_signed_v<T> ? o.min
                                                : std::optional{least},
                          o.max, "");
    }
    bool read(const Input& input, T& out) const {
        std::int64_t value = 0;
        if (!read_integer(input, least, most, value)) return false;
        out = static_cast<T>(value);
        return true;
    }
    [[nodiscard]] std::optional<std::string> write(T value) const {
        return grouped(static_cast<std::int64_t>(value));
    }
};

template <>
struct Codec<Milliseconds> {
    [[nodiscard]] std::string type() const { return "integer (milliseconds)"; }
    [[nodiscard]] std::string range(const Options& options) const;
    bool read(const Input& input, Milliseconds& out) const { return read_milliseconds(input, out); }
    [[nodiscard]] std::optional<std::string> write(Milliseconds value) const {
        return grouped(value.count());
    }
};

template <>
struct Codec<Bytes> {
    [[nodiscard]] std::string type() const { return "size"; }
    [[nodiscard]] std::string range(const Options& options) const;
    bool read(const Input& input, Bytes& out) const { return read_bytes(input, out); }
    [[nodiscard]] std::optional<std::string> write(Bytes value) const {
        return quote(value.text());
    }
};

template <>
struct Codec<std::string> {
    [[nodiscard]] std::string type() const { return "string"; }
    [[nodiscard]] std::string range(const Options& options) const {
        return range_text(options.min, options.max, "bytes");
    }
    bool read(const Input& input, std::string& out) const { return read_string(input, out); }
    [[nodiscard]] std::optional<std::string> write(const std::string& value) const {
        return quote(value);
    }
};

template <>
struct Codec<Address> {
    [[nodiscard]] std::string type() const { return "address"; }
    [[nodiscard]] std::string range(const Options&) const { return ""; }
    bool read(const Input& input, Address& out) const { return read_address(input, out); }
    [[nodiscard]] std::optional<std::string> write(const Address& value) const {
        if (value.family() == 0) return std::nullopt;  // never set
        return quote(value.text());
    }
};

/// The spellings of an enumeration's values.
template <class E>
    requires std::is_enum_v<E>
using Names = std::vector<std::pair<std::string, E>>;

template <class E>
    requires std::is_enum_v<E>
struct Codec<E> {
    Names<E> names;

    [[nodiscard]] std::string type() const {
        std::string out;
        for (const auto& [name, value] : names) out += (out.empty() ? "" : " or ") + quote(name);
        return out;
    }
    [[nodiscard]] std::string range(const Options&) const { return ""; }
    bool read(const Input& input, E& out) const {
        std::vector<std::string> texts;
        for (const auto& [name, value] : names) texts.push_back(name);
        std::size_t index = 0;
        if (!read_name(input, texts, index)) return false;
        out = names[index].second;
        return true;
    }
    [[nodiscard]] std::optional<std::string> write(E sought) const {
        for (const auto& [name, value] : names)
            if (value == sought) return quote(name);
        return std::nullopt;
    }
};

template <class T>
struct Codec<std::optional<T>> {
    Codec<T> inner = {};

    [[nodiscard]] std::string type() const { return inner.type(); }
    [[nodiscard]] std::string range(const Options& options) const { return inner.range(options); }
    bool read(const Input& input, std::optional<T>& out) const {
        T value{};
        if (!inner.read(input, value)) return false;
        out = std::move(value);
        return true;
    }
    [[nodiscard]] std::optional<std::string> write(const std::optional<T>& value) const {
        return value ? inner.write(*value) : std::nullopt;
    }
};

template <class T>
struct Codec<std::vector<T>> {
    Codec<T> inner = {};

    [[nodiscard]] std::string type() const { return "array of " + inner.type(); }
    [[nodiscard]] std::string range(const Options& options) const { return inner.range(options); }
    bool read(const Input& input, std::vector<T>& out) const {
        if (!check_array(input)) return false;
        std::vector<T> values;
        bool good = true;
        for (const Node& node : input.node.items) {
            T value{};
            const Input item{node, input.key, input.options, input.report, values.size() + 1};
            good = inner.read(item, value) && good;
            values.push_back(std::move(value));
        }
        if (good) out = std::move(values);
        return good;
    }
    [[nodiscard]] std::optional<std::string> write(const std::vector<T>& values) const {
        std::string out;
        for (const T& value : values) {
            const auto item = inner.write(value);
            if (item) out += (out.empty() ? "" : ", ") + *item;
        }
        return "[" + out + "]";
    }
};

}  // namespace ringfort::config
