#ifndef RINGFORT_TESTS_PROCESS_ARGUMENTS_H
#define RINGFORT_TESTS_PROCESS_ARGUMENTS_H

/// What the kernel gave main.
struct Arguments {
    int count = 0;
    char** values = nullptr;
};

extern Arguments program_arguments;

#endif
