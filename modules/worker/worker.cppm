export module ringfort.worker;
