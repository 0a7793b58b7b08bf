export module ringfort.net;
