module;
#include <array>
#include <cstddef>
#include <string_view>
module ringfort.config;

namespace ringfort::config {

std::string_view Node::kind_text() const noexcept {
    constexpr std::array<std::string_view, 7> texts{
        "a boolean", "an integer", "a number with a fraction", "a string", "a date or time",
        "an array",  "a table"};
    return texts.at(static_cast<std::size_t>(kind));
}

const Node* Node::find(std::string_view key) const noexcept {
    for (const Member& member : members)
        if (member.key == key) return &member.value;
    return nullptr;
}

}  // namespace ringfort::config
