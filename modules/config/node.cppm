export module ringfort.config:node;

import ringfort.std;
import :source;

export namespace ringfort::config {

struct Member;

/// A value as it was written, with its place: what a Codec reads. A tree of its own, so that the
/// library that parses the text is nobody else's business.
struct Node {
    enum class Kind : std::uint8_t { boolean, integer, number, string, date, array, table };

    Kind kind = Kind::table;
    Span span;  ///< the value; of a table, its header or its first key
    bool boolean = false;
    std::int64_t integer = 0;
    std::string string;           ///< decoded
    std::vector<Node> items;      ///< of an array
    std::vector<Member> members;  ///< of a table, in the order of the text

    /// Returns the kind with its article, for messages: "an integer".
    [[nodiscard]] std::string_view kind_text() const noexcept;
    /// Returns the member's value, nullptr if this is no table or has no such key.
    [[nodiscard]] const Node* find(std::string_view key) const noexcept;
};

/// A key and its value.
struct Member {
    std::string key;
    Span key_span;
    Node value;
};

}  // namespace ringfort::config
