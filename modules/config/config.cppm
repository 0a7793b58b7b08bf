export module ringfort.config;
