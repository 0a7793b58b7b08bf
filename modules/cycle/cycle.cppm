export module ringfort.cycle;
