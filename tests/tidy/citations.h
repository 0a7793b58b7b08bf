/// What documents say of tests.
#ifndef RINGFORT_TIDY_CITATIONS_H
#define RINGFORT_TIDY_CITATIONS_H

#include <set>
#include <string>

#include "source.h"

namespace tidy {

/// Returns the titles of the tests in a file, literals that are continued put together.
std::set<std::string> test_titles(const Source& source);

/// Finds titles in quotes, in the last column of a document's tables, that no test has.
Findings check_citations(const Source& document, const std::set<std::string>& titles);

}  // namespace tidy

#endif
