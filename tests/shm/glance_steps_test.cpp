// Looks without the lock, with a change by somebody else at every step of them, and at every step
// of a change by somebody else.
#include <catch2/catch_test_macros.hpp>
#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "steps.hpp"

using namespace ringfort;
using namespace ringfort::shm;

namespace {

using Texts = MapOf<std::string, std::string>;

std::function<void()> at_step;

// Does something before a step, the first of which is 1, and counts them.
class Steps {
public:
    explicit Steps(std::function<void(std::uint32_t)> work) {
        at_step = [this, work = std::move(work)] {
            set_step_hook(nullptr);
            work(++steps_);
            hook();
        };
        hook();
    }
    ~Steps() { set_step_hook(nullptr); }
    Steps(const Steps&) = delete;
    Steps& operator=(const Steps&) = delete;

    std::uint32_t count() const { return steps_; }

private:
    static void hook() {
        set_step_hook([] { at_step(); });
    }

    std::uint32_t steps_ = 0;
};

}  // namespace

TEST_CASE("a key that is changed at any step of a look at it is the old one or the new one") {
    steps::Stage stage{10};
    const Texts theirs = Texts::create(stage.keeper(), 2, {.buckets = 1}).value();
    const Texts ours = Texts::open(stage.pool(), 2).value();
    const auto before = [](std::uint32_t n) { return std::string(3 + n % 5, 'b'); };
    const auto after = [](std::uint32_t n) { return std::string(40 + n % 50, 'a'); };
    theirs.put("behind", "value").value();
    std::uint32_t last = 1;
    for (std::uint32_t at = 1; at <= last; ++at) {
        INFO("step " << at);
        theirs.put("key", before(at)).value();
        theirs.put("in front", "value").value();
        std::optional<std::string> found;
        {
            const Steps steps{[&](std::uint32_t step) {
                if (step != at) return;
                // The blocks are used again at once, by other keys.
                theirs.put("key", after(at)).value();
                theirs.put("x", "other").value();
                static_cast<void>(theirs.erase("in front").value());
                theirs.put("y", "in its place").value();
            }};
            found = ours.get("key").value();
            last = steps.count();
        }
        REQUIRE(found.has_value());
        REQUIRE((found == before(at) || found == after(at)));
        for (const char* key : {"x", "y", "key"}) static_cast<void>(theirs.erase(key).value());
    }
    REQUIRE(last > 5);
}

TEST_CASE("a look at any step of a change sees what was before it or after it, or has to wait") {
    steps::Stage stage{10};
    const Texts map = Texts::create(stage.pool(), 2, {.buckets = 1}).value();
    map.put("key", "before").value();
    map.put("other", "value").value();
    std::uint32_t seen_before = 0;
    std::uint32_t seen_after = 0;
    std::uint32_t waits = 0;
    {
        const Steps steps{[&](std::uint32_t) {
            const Result<std::optional<std::string>> found = map.get("key");
            if (!found) {
                // The same owner has the lock, so that it need not really wait.
                REQUIRE(found.error().is(std::errc::resource_deadlock_would_occur));
                ++waits;
            } else if (*found == "before") {
                REQUIRE(waits == 0);
                ++seen_before;
            } else {
                REQUIRE(*found == "and after it");
                ++seen_after;
            }
        }};
        map.put("key", "and after it").value();
    }
    REQUIRE(seen_before > 0);
    REQUIRE(waits > 10);
    REQUIRE(seen_after > 0);
}
