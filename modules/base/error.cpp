module;
#include <string>
module ringfort.base;

namespace ringfort {

std::string Error::text() const {
    return std::string{step()} + ": " + code_.message();
}

}  // namespace ringfort
