module;
#include <variant>
module ringfort.channel;

namespace ringfort::channel {

Kind kind(const Message& message) noexcept {
    return std::visit([](const auto& alternative) { return alternative.kind; }, message);
}

}  // namespace ringfort::channel
