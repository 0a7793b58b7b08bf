export module ringfort.base:ensure;

import ringfort.std;

export namespace ringfort {

/// Ends the process with a message and SIGABRT: a programmer error was found and going on would
/// make it worse. Operating errors are never reported this way: they are `Result`s.
[[noreturn]] void panic(std::string_view what,
                        std::source_location where = std::source_location::current()) noexcept;

/// Checks an invariant, in every build type; see `panic`.
inline void ensure(bool holds, std::string_view what,
                   std::source_location where = std::source_location::current()) noexcept {
    if (!holds) [[unlikely]]
        panic(what, where);
}

}  // namespace ringfort
