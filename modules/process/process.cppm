export module ringfort.process;
