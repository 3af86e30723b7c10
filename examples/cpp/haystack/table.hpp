// The result as aligned text, Markdown or JSON.
#pragma once

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "trial.hpp"

namespace haystack {

enum class Style { text, markdown };

/// 95 % interval of a proportion (Wilson 1927), in [0, 1].
std::pair<double, double> wilson(int right, int asked);

/// One row per cell: accuracy by depth and overall, tokens and bytes per step, times, and the ratios to the dense cell of the
/// same length where there is one.
void print_methods(std::ostream &out, const std::vector<Cell> &cells, Style style);

/// TokenSelect's accuracy and prefill time by chunk size.
void print_chunks(std::ostream &out, const std::vector<Cell> &cells, Style style);

nlohmann::ordered_json to_json(const Cell &cell);

}  // namespace haystack
