/// Words that must not be committed.
#ifndef RINGFORT_TIDY_PLACES_H
#define RINGFORT_TIDY_PLACES_H

#include "source.h"

namespace tidy {

/// Finds paths of one machine and the hosts of package registries.
Findings check_places(const Source& source);

/// Finds notes of unfinished work.
Findings check_unfinished(const Source& source);

}  // namespace tidy

#endif
