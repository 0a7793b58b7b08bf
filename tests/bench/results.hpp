#pragma once
// How cells read: tables for documents, JSON for programs, bar charts.
#include <string>
#include <vector>

#include "cell.hpp"

namespace bench {

/// Lays the cell out as a table and what is to be known beside it, ready for a document.
[[nodiscard]] std::string to_table(const CellResult& cell, const Cores& cores);

/// Describes every cell with every slice in JSON, with a newline at the end.
[[nodiscard]] std::string to_json(const std::vector<CellResult>& cells);

/// Draws the medians of a cell's figure as SVG; empty when nothing was measured.
[[nodiscard]] std::string to_chart(const CellResult& cell);

}  // namespace bench
