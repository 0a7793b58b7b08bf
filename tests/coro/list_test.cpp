#include <catch2/catch_test_macros.hpp>

import ringfort.coro;

using namespace ringfort;

namespace {
struct Item : coro::ListNode<Item> {
    explicit Item(int number) : value{number} {}
    int value;
};
}  // namespace

TEST_CASE("a list gives its members back in order and forgets one that unlinks") {
    coro::List<Item> list;
    Item one{1}, two{2}, three{3};
    list.push_back(one);
    list.push_back(two);
    list.push_back(three);
    two.unlink();
    CHECK_FALSE(two.linked());
    CHECK(list.pop_front()->value == 1);
    CHECK(list.pop_front()->value == 3);
    CHECK(list.pop_front() == nullptr);
    CHECK(list.empty());
}

TEST_CASE("a destroyed member leaves its list") {
    coro::List<Item> list;
    {
        Item item{1};
        list.push_back(item);
    }
    CHECK(list.empty());
}
