export module ringfort.shm;
