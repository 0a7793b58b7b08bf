module ringfort.config:document;

import ringfort.std;
import :node;
import :report;
import :source;

// Nothing here is exported: the library that parses stays inside the layer.
namespace ringfort::config {

/// Why a text is not TOML.
struct SyntaxError {
    Span where;
    std::string message;
    std::string help;
    std::string redefined = {};      ///< the key that is defined twice, as it is written
    std::optional<Span> first = {};  ///< where it was defined before
    bool at_end = false;             ///< the text ended where it should have gone on
};

/// Finds what must never reach the TOML library: text that is not UTF-8, control characters, and
/// what the library is known to crash on. Reads the text without a byte order mark.
std::optional<SyntaxError> unacceptable(std::string_view text);

/// Returns where the string token begins that covers the byte at `offset`; `offset` if none does.
std::size_t string_start(std::string_view text, std::size_t offset);

/// Parses an acceptable text, up to the first error. Allocates in proportion to the text.
std::variant<Node, SyntaxError> parse_toml(std::string_view text);

/// Rewrites what the library says, in our words, with a remedy where there is one.
SyntaxError explain(std::string_view library_message, Place where, std::string_view text);

/// A text read as far as it can be: lines that are no TOML are reported and left out.
struct Document {
    std::optional<Node> root;  ///< absent when nothing can be said about the values
    std::vector<SyntaxError> errors;
};

/// Reads a text and goes on behind errors where that cannot cause false ones.
Document read_document(std::string_view text);

/// Puts what the overrides say in the place of what the text says. What is wrong with them is
/// reported as of the lines from `first_line` on.
void override_values(Node& root, const std::vector<std::string>& overrides,
                     std::uint32_t first_line, Report& report);

}  // namespace ringfort::config
