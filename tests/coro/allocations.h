/// Counts what a test program allocates. Link allocations.cpp and `allocation_wraps`.
#pragma once
#include <cstddef>

namespace testing {

/// Returns how often everything linked into the program, in all its threads, has allocated so far.
std::size_t allocations() noexcept;

extern bool fail_large_allocations;  ///< those too large for a frame that is kept

}  // namespace testing
