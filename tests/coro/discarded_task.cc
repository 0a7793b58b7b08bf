// Does not compile, and CMakeLists.txt has a test that sees to it. Not named .cpp: it is no source
// for clang-tidy.
#include <coroutine>
#include <exception>
#include <utility>

import ringfort.coro;

using ringfort::coro::Task;

void forget_to_await(Task<int> (*begin)()) {
    begin();
}
