# Every dependency comes from the system or, failing that, is fetched at configure time in the one
# version and with the one SHA256 written here. Nothing is vendored. `./x` installs the packages on
# Debian, so fetching is for other distributions. Without a network, unpack the sources yourself and
# pass -D FETCHCONTENT_SOURCE_DIR_<NAME>=<folder>.
#
# Where the hashes of the code host's tag archives come from: Catch2's, and that of libseccomp's release,
# are those of Debian's own source packages; those of liburing and CLI11 are in conan-center-index (liburing's in xmake-repo too); those
# of fmt and tomlplusplus were found equal in three and more unrelated projects' build files.
include(FetchContent)

FetchContent_Declare(fmt SYSTEM
  URL https://github.com/fmtlib/fmt/archive/refs/tags/11.1.4.tar.gz
  URL_HASH SHA256=ac366b7b4c2e9f0dde63a59b3feb5ee59b67974b14ee5dc9ea8ad78aa2c1ee1e
  FIND_PACKAGE_ARGS 9)
FetchContent_Declare(tomlplusplus SYSTEM
  URL https://github.com/marzer/tomlplusplus/archive/refs/tags/v3.4.0.tar.gz
  URL_HASH SHA256=8517f65938a4faae9ccf8ebb36631a38c1cadfb5efa85d9a72e15b9e97d25155
  FIND_PACKAGE_ARGS 3.3)
FetchContent_Declare(CLI11 SYSTEM
  URL https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz
  URL_HASH SHA256=f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a
  FIND_PACKAGE_ARGS 2)
FetchContent_Declare(Catch2 SYSTEM
  URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
  URL_HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c
  FIND_PACKAGE_ARGS 3)
FetchContent_Declare(liburing
  URL https://github.com/axboe/liburing/archive/refs/tags/liburing-2.13.tar.gz
  URL_HASH SHA256=618e34dbea408fc9e33d7c4babd746036dbdedf7fce2496b1178ced0f9b5b357)
FetchContent_Declare(libseccomp
  URL https://github.com/seccomp/libseccomp/releases/download/v2.5.4/libseccomp-2.5.4.tar.gz
  URL_HASH SHA256=d82902400405cf0068574ef3dc1fe5f5926207543ba1ae6f8e7a1576351dcbdb)

# None of them has modules to scan for; their own tests, examples and installation are not ours.
set(CMAKE_CXX_SCAN_FOR_MODULES OFF)
set(FMT_INSTALL OFF)
set(CLI11_PRECOMPILED OFF)
set(CLI11_BUILD_TESTS OFF)
FetchContent_MakeAvailable(fmt tomlplusplus CLI11)
if(RINGFORT_TESTS)
  FetchContent_MakeAvailable(Catch2)
  if(catch2_SOURCE_DIR)
    list(APPEND CMAKE_MODULE_PATH ${catch2_SOURCE_DIR}/extras) # include(Catch)
  endif()
endif()
set(CMAKE_CXX_SCAN_FOR_MODULES ON)

# liburing has no CMake build: its own configure and make build the static library.
add_library(ringfort_liburing INTERFACE)
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(liburing QUIET IMPORTED_TARGET GLOBAL liburing>=2.9)
endif()
if(TARGET PkgConfig::liburing)
  target_link_libraries(ringfort_liburing INTERFACE PkgConfig::liburing)
else()
  find_program(RINGFORT_MAKE NAMES make gmake)
  if(NOT RINGFORT_MAKE)
    message(FATAL_ERROR "liburing 2.9 or newer is not installed, and without make it cannot be "
      "built: install liburing's development package, or make")
  endif()
  FetchContent_MakeAvailable(liburing) # downloads only: there is no CMakeLists.txt in it
  include(ExternalProject)
  set(prefix ${CMAKE_BINARY_DIR}/_deps/liburing-install)
  file(MAKE_DIRECTORY ${prefix}/include) # a target's include folder has to exist at configure time
  ExternalProject_Add(ringfort_liburing_build
    SOURCE_DIR ${liburing_SOURCE_DIR}
    BUILD_IN_SOURCE TRUE
    CONFIGURE_COMMAND ./configure --prefix=${prefix} --cc=${CMAKE_C_COMPILER} --cxx=${CMAKE_CXX_COMPILER} --use-libc
    BUILD_COMMAND ${RINGFORT_MAKE} -C src ENABLE_SHARED=0
    INSTALL_COMMAND ${RINGFORT_MAKE} -C src ENABLE_SHARED=0 install
    BUILD_BYPRODUCTS ${prefix}/lib/liburing.a
    LOG_CONFIGURE TRUE LOG_BUILD TRUE LOG_INSTALL TRUE LOG_OUTPUT_ON_FAILURE TRUE)
  add_dependencies(ringfort_liburing ringfort_liburing_build)
  target_include_directories(ringfort_liburing SYSTEM INTERFACE ${prefix}/include)
  target_link_libraries(ringfort_liburing INTERFACE ${prefix}/lib/liburing.a)
  unset(prefix)
endif()

# libseccomp is built by its own configure and make, too. Its release has what gperf would generate, so
# that nothing needs to be there but make.
add_library(ringfort_libseccomp INTERFACE)
if(PkgConfig_FOUND)
  pkg_check_modules(libseccomp QUIET IMPORTED_TARGET GLOBAL libseccomp>=2.5)
endif()
if(TARGET PkgConfig::libseccomp)
  target_link_libraries(ringfort_libseccomp INTERFACE PkgConfig::libseccomp)
else()
  find_program(RINGFORT_MAKE NAMES make gmake)
  if(NOT RINGFORT_MAKE)
    message(FATAL_ERROR "libseccomp 2.5 or newer is not installed, and without make it cannot be "
      "built: install libseccomp's development package, or make")
  endif()
  FetchContent_MakeAvailable(libseccomp)
  include(ExternalProject)
  set(prefix ${CMAKE_BINARY_DIR}/_deps/libseccomp-install)
  file(MAKE_DIRECTORY ${prefix}/include)
  ExternalProject_Add(ringfort_libseccomp_build
    SOURCE_DIR ${libseccomp_SOURCE_DIR}
    CONFIGURE_COMMAND <SOURCE_DIR>/configure --prefix=${prefix} --libdir=${prefix}/lib --disable-shared --with-pic CC=${CMAKE_C_COMPILER} GPERF=true
    BUILD_COMMAND ${RINGFORT_MAKE}
    INSTALL_COMMAND ${RINGFORT_MAKE} install
    BUILD_BYPRODUCTS ${prefix}/lib/libseccomp.a
    LOG_CONFIGURE TRUE LOG_BUILD TRUE LOG_INSTALL TRUE LOG_OUTPUT_ON_FAILURE TRUE)
  add_dependencies(ringfort_libseccomp ringfort_libseccomp_build)
  target_include_directories(ringfort_libseccomp SYSTEM INTERFACE ${prefix}/include)
  target_link_libraries(ringfort_libseccomp INTERFACE ${prefix}/lib/libseccomp.a)
  unset(prefix)
endif()
