// Does not compile: CMakeLists.txt has a test that sees to it.
#include <coroutine>
#include <exception>
#include <utility>

import ringfort.coro;

using ringfort::coro::Task;

void forget_to_await(Task<int> (*begin)()) {
    begin();
}
