export module ringfort.uring;
