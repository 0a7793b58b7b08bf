/// A layer imports what its target links, and only what its floor allows.
#ifndef RINGFORT_TIDY_IMPORTS_H
#define RINGFORT_TIDY_IMPORTS_H

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "source.h"

namespace tidy {

/// Which layers each layer may import: the floors of the architecture. This is the one table.
const std::map<std::string, std::set<std::string>>& floors();

/// An import of one of our layers. `layer` is "base" for `import ringfort.base;`.
struct Import {
    std::string layer;
    std::size_t line = 1;
};

/// Finds `import ringfort.X;` and `export import ringfort.X;`, comments left out.
std::vector<Import> imports_of(const Source& source);

/// What a layer's CMakeLists.txt says in its call of ringfort_layer.
struct LayerTarget {
    std::string name;                     ///< empty if there is no such call
    std::set<std::string> files;          ///< INTERFACES and SOURCES
    std::set<std::string> links;          ///< the layers in LINKS, without "ringfort::"
    std::set<std::string> private_links;  ///< those in PRIVATE_LINKS
    std::set<std::string> stray_links;    ///< layers named outside of the call
};

/// Parses the text of a CMakeLists.txt.
LayerTarget layer_target(std::string_view cmake);

/// One folder below modules/.
struct Layer {
    std::string name;
    Source cmake;
    std::vector<Source> sources;  ///< its .cppm and .cpp files
};

/// Finds imports that no direct link stands for, links that nothing imports, and imports that
/// the floors forbid.
Findings check_imports(const Layer& layer);

/// Finds headers of the standard library in an interface, which would carry a copy of its own to
/// all who import it, instead of the one that ringfort.std has.
Findings check_includes(const Source& source);

}  // namespace tidy

#endif
