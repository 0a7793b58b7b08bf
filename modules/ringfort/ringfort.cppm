export module ringfort;
