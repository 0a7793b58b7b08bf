/// The declarations of a file, found by braces and a few keywords: enough for clang-formatted
/// code, without a compiler.
#ifndef RINGFORT_TIDY_DECLARATIONS_H
#define RINGFORT_TIDY_DECLARATIONS_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tidy {

enum class Kind : std::uint8_t { name_space, type, function, other };

/// One declaration at namespace or class level; what is inside functions is not looked at.
struct Declaration {
    Kind kind = Kind::other;
    std::string head;       ///< up to its body or semicolon, comments blanked, spaces as they are
    std::string name;       ///< empty where none was recognised
    std::size_t first = 1;  ///< line of the head's first word
    std::size_t last = 1;   ///< line of the closing brace or semicolon
    bool has_body = false;  ///< a type or function that is defined here
    bool is_public = true;  ///< false below private: and protected:
    std::vector<Declaration> members;  ///< of a namespace or type
};

/// Parses the result of `code_of`.
std::vector<Declaration> declarations_of(std::string_view code);

}  // namespace tidy

#endif
