export module ringfort.channel;
