#include "places.h"

#include <array>

namespace tidy {
namespace {

// Written in two halves, or this file would find itself.
constexpr std::array paths{
    std::string_view{"/wo"
                     "rk/"},
    std::string_view{"/ro"
                     "ot/"},
    std::string_view{"/tmp/"
                     "wt/"},
    std::string_view{"/tmp/"
                     "b-"},
    std::string_view{"/tmp/"
                     "plan"},
    std::string_view{"/tmp/"
                     "chroot"},
};
constexpr std::array hosts{
    std::string_view{"deb.debian"
                     ".org"},
    std::string_view{"security.debian"
                     ".org"},
    std::string_view{"snapshot.debian"
                     ".org"},
    std::string_view{"ftp.debian"
                     ".org"},
    std::string_view{"archive.ubuntu"
                     ".com"},
    std::string_view{"registry.npmjs"
                     ".org"},
    std::string_view{"pypi"
                     ".org"},
    std::string_view{"crates"
                     ".io"},
    std::string_view{"proxy.golang"
                     ".org"},
    std::string_view{"apt.llvm"
                     ".org"},
};
constexpr std::array notes{std::string_view{"TO"
                                            "DO"},
                           std::string_view{"FIX"
                                            "ME"},
                           std::string_view{"XX"
                                            "X"}};

/// A path begins where no other path goes on: "network/" followed by such a name is fine.
bool has_path(std::string_view line, std::string_view path) {
    for (auto at = line.find(path); at != line.npos; at = line.find(path, at + 1)) {
        const char before = at == 0 ? ' ' : line[at - 1];
        if (!is_name(before) && before != '.' && before != '-' && before != '}' && before != ')')
            return true;
    }
    return false;
}

template <class Predicate>
Findings check_lines(const Source& source, Predicate what_to_do) {
    Findings findings;
    std::size_t number = 0;
    for (const auto line : lines_of(source.text)) {
        ++number;
        if (auto what = what_to_do(line); !what.empty())
            findings.push_back({source.path, number, std::move(what)});
    }
    return findings;
}

}  // namespace

Findings check_places(const Source& source) {
    return check_lines(source, [](std::string_view line) -> std::string {
        for (const auto path : paths)
            if (has_path(line, path)) return "remove this machine's path " + std::string{path};
        for (const auto host : hosts)
            if (line.find(host) != line.npos) return "remove the package host " + std::string{host};
        return {};
    });
}

Findings check_unfinished(const Source& source) {
    return check_lines(source, [](std::string_view line) -> std::string {
        for (const auto note : notes)
            if (has_word(line, note)) return "finish this or file an issue: " + std::string{note};
        return {};
    });
}

}  // namespace tidy
