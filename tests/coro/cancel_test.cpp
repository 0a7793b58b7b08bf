#include <catch2/catch_test_macros.hpp>
#include <string>

import ringfort.coro;

#include "death.h"

using namespace ringfort;

namespace {
struct Hook : coro::CancelHook {
    explicit Hook(coro::Attached attached = coro::Attached::while_waiting)
        : CancelHook{[](coro::CancelHook& self) noexcept { ++static_cast<Hook&>(self).fired; },
                     attached} {}
    int fired = 0;
};
}  // namespace

TEST_CASE("a cancel request fires every hook once") {
    coro::CancelSource source;
    Hook a, b;
    source.attach(a);
    source.attach(b);
    source.request();
    source.request();
    CHECK(a.fired == 1);
    CHECK(b.fired == 1);
    CHECK(source.requested());
}

TEST_CASE("a hook attached after the request fires at once") {
    coro::CancelSource source;
    source.request();
    Hook hook;
    source.attach(hook);
    CHECK(hook.fired == 1);
}

TEST_CASE("a detached hook does not fire") {
    coro::CancelSource source;
    Hook hook;
    source.attach(hook);
    hook.unlink();
    source.request();
    CHECK(hook.fired == 0);
}

TEST_CASE("cancelling a parent cancels its descendants and not the other way round") {
    coro::CancelSource parent;
    coro::CancelSource child{&parent};
    coro::CancelSource grandchild{&child};
    coro::CancelSource sibling{&parent};
    Hook hook;
    grandchild.attach(hook);
    child.request();
    CHECK(hook.fired == 1);
    CHECK_FALSE(parent.requested());
    CHECK_FALSE(sibling.requested());
    parent.request();
    CHECK(sibling.requested());
}

TEST_CASE("a child of a cancelled parent is born cancelled") {
    coro::CancelSource parent;
    parent.request();
    const coro::CancelSource child{&parent};
    CHECK(child.requested());
}

TEST_CASE("a hook may destroy its neighbour while hooks fire") {
    struct Killer : coro::CancelHook {
        Killer()
            : CancelHook{[](coro::CancelHook& self) noexcept {
                  delete static_cast<Killer&>(self).victim;
              }} {}
        Hook* victim = nullptr;
    };
    coro::CancelSource source;
    Killer killer;
    killer.victim = new Hook;
    source.attach(killer);
    source.attach(*killer.victim);
    source.request();
    SUCCEED("no use after free: asan watches");
}

TEST_CASE("a source that ends tells the hooks that are attached lastingly, and lets go of them") {
    Hook hook{coro::Attached::lastingly};
    {
        coro::CancelSource source;
        source.attach(hook);
    }
    CHECK(hook.fired == 1);
    CHECK_FALSE(hook.linked());
    coro::CancelSource next;
    next.attach(hook);
    next.request();
    CHECK(hook.fired == 2);
}

TEST_CASE("a source that ends above something that waits aborts") {
    const std::string message = testing::death_of([] {
        Hook hook;
        coro::CancelSource source;
        source.attach(hook);
    });
    CHECK(message.find("a source was destroyed with something to cancel below it") !=
          std::string::npos);
}
