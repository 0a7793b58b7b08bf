export module ringfort.master;
