// A main of our own instead of Catch2's: the titles need the argv that the kernel laid down.
#include <catch2/catch_session.hpp>

#include "arguments.h"

Arguments program_arguments;

int main(int argc, char** argv) {
    program_arguments = {argc, argv};
    return Catch::Session().run(argc, argv);
}
