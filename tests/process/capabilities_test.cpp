#include <catch2/catch_test_macros.hpp>

#include <unistd.h>

#include <string>

#include "in_child.h"

import ringfort.base;
import ringfort.process;

namespace {

using namespace ringfort;
using namespace ringfort::process;

constexpr const char* none = "0000000000000000";

std::string outcome(const Result<void>& result) {
    return result ? "" : result.error().text();
}

}  // namespace

TEST_CASE("root gives every capability up, of every set, and stays root without them") {
    if (::geteuid() != 0) SKIP("only root has capabilities to give up");
    const std::string text = in_child([] {
        return outcome(drop_bounding_set()) + outcome(drop_capabilities()) + status_line("CapEff") +
               status_line("CapPrm") + status_line("CapInh") + status_line("CapAmb") +
               status_line("CapBnd") + " " + std::to_string(::geteuid());
    });
    const std::string nothing{none};
    CHECK(text == nothing + nothing + nothing + nothing + nothing + " 0");
}

TEST_CASE("who may not change the bounding set keeps it, without an error") {
    const std::string text = in_child([]() -> std::string {
        if (::geteuid() == 0 && ::setresuid(54'321, 54'321, 54'321) != 0) return "still root";
        const std::string before = status_line("CapBnd");
        const std::string failed = outcome(drop_bounding_set()) + outcome(drop_capabilities());
        return failed + (status_line("CapBnd") == before ? "kept" : "changed");
    });
    CHECK(text == "kept");
}

TEST_CASE("new privileges are forbidden for good") {
    CHECK(in_child([] {
              return status_line("NoNewPrivs") + outcome(forbid_new_privileges()) +
                     status_line("NoNewPrivs");
          }) == "01");
}
