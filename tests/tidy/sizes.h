/// Limits on files, functions, lines and file names (docs: style).
#ifndef RINGFORT_TIDY_SIZES_H
#define RINGFORT_TIDY_SIZES_H

#include <cstddef>

#include "source.h"

namespace tidy {

inline constexpr std::size_t max_file_lines = 400;
inline constexpr std::size_t max_function_lines = 70;
inline constexpr std::size_t max_columns = 100;

/// Finds a file that is too long.
Findings check_file_length(const Source& source);
/// Finds functions that are too long, from the first line of the head to the closing brace.
Findings check_function_lengths(const Source& source);
/// Finds lines that are too long, counted in code points.
Findings check_columns(const Source& source);
/// Finds file names that say nothing about what is in the file.
Findings check_file_name(const Source& source);

}  // namespace tidy

#endif
