/// Every exported name has a `///`.
///
/// A `///` covers the declaration below it and, up to the next empty line or comment, the short
/// declarations that follow it. `///<` behind a declaration covers that one. What explains itself
/// needs none: constructors, destructors, operators, friends, defaulted and deleted functions, the
/// functions of an awaitable, a promise_type, specialisations of a template, forward declarations,
/// data members and everything in `detail`.
#ifndef RINGFORT_TIDY_DOCUMENTATION_H
#define RINGFORT_TIDY_DOCUMENTATION_H

#include "source.h"

namespace tidy {

/// Finds exported names, and public functions of exported classes, without a `///`.
Findings check_documentation(const Source& interface);

}  // namespace tidy

#endif
