/// What may read the wall clock, which somebody can set: nothing that waits or measures.
#ifndef RINGFORT_TIDY_CLOCKS_H
#define RINGFORT_TIDY_CLOCKS_H

#include "source.h"

namespace tidy {

/// Finds readings of the wall clock, and waits until a moment of it.
Findings check_clocks(const Source& source);

}  // namespace tidy

#endif
