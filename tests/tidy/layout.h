/// Module names follow folders and files, and every file is part of its target.
#ifndef RINGFORT_TIDY_LAYOUT_H
#define RINGFORT_TIDY_LAYOUT_H

#include <set>
#include <string>

#include "imports.h"
#include "source.h"

namespace tidy {

/// Finds module declarations that do not follow from the folder and the file's name, partitions
/// that the primary interface does not import, files missing in CMakeLists.txt, and a primary
/// interface that does not open with a `///`.
Findings check_layout(const Layer& layer);

/// Finds a tests/<layer>/<concept>_test.cpp whose concept is neither a file of the layer nor the
/// layer itself. `concepts` are the stems of modules/<layer>.
Findings check_test_name(const Source& test, const std::set<std::string>& concepts);

}  // namespace tidy

#endif
