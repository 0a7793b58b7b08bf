export module ringfort.coro;
