#include "fixture.h"

#include <string>
#include <string_view>

import ringfort.config;
import services;

namespace fixture {

Outcome read(std::string_view text) {
    namespace config = ringfort::config;
    static const config::Registry registry = services::registry();
    const auto parsed = config::parse({"t.toml", std::string{text}}, registry);
    if (parsed) return {true, {}, config::effective(*parsed, registry)};
    Outcome outcome{false, {}, parsed.problems().text()};
    for (const config::Problem& problem : parsed.problems().list) {
        std::string line = problem.headline().substr(7);
        line.erase(line.find("error: "), 7);
        outcome.headlines.push_back(line);
    }
    return outcome;
}

}  // namespace fixture
