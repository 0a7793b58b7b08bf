#pragma once
#include <string>

namespace e2e {

/// Return the path of a binary under test: RINGFORT_E2E_ECHO or RINGFORT_E2E_PROXY of the
/// environment, else the one of this build. Skip the test when there is neither.
[[nodiscard]] std::string echo_app();
[[nodiscard]] std::string proxy_app();
/// Returns the path of a server that hangs when it is told to: see spin.cpp.
[[nodiscard]] std::string spin_app();
/// Returns the path of a server that tries to leave its sandbox: see escape.cpp.
[[nodiscard]] std::string escape_app();

}  // namespace e2e
