module ringfort.process;
