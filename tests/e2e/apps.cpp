#include "apps.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <string>

namespace e2e {
namespace {

std::string choose(const char* variable, const std::string& built) {
    if (const char* path = std::getenv(variable); path != nullptr) return path;
    if (built.empty()) SKIP("this build has no app here and " << variable << " is not set");
    return built;
}

}  // namespace

#ifndef RINGFORT_E2E_ECHO_APP
#define RINGFORT_E2E_ECHO_APP ""
#endif
#ifndef RINGFORT_E2E_PROXY_APP
#define RINGFORT_E2E_PROXY_APP ""
#endif

#ifndef RINGFORT_E2E_SPIN_APP
#define RINGFORT_E2E_SPIN_APP ""
#endif
#ifndef RINGFORT_E2E_ESCAPE_APP
#define RINGFORT_E2E_ESCAPE_APP ""
#endif

std::string spin_app() {
    return choose("RINGFORT_E2E_SPIN", RINGFORT_E2E_SPIN_APP);
}
std::string escape_app() {
    return choose("RINGFORT_E2E_ESCAPE", RINGFORT_E2E_ESCAPE_APP);
}
std::string echo_app() {
    return choose("RINGFORT_E2E_ECHO", RINGFORT_E2E_ECHO_APP);
}
std::string proxy_app() {
    return choose("RINGFORT_E2E_PROXY", RINGFORT_E2E_PROXY_APP);
}

}  // namespace e2e
