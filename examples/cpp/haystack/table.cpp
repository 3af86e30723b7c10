#include "table.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace haystack {
namespace {

using Row = std::vector<std::string>;

std::string number(double x, const char *format) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}
std::string percent(int right, int asked) { return asked ? number(100.0 * right / asked, "%.0f") : "-"; }

std::string interval(const Cell &cell) {
  const auto [low, high] = wilson(cell.total_right(), cell.total_asked());
  return number(100 * low, "%.0f") + "-" + number(100 * high, "%.0f");
}

std::string bytes(double n) { return n < 1e6 ? number(n / 1e3, "%.1f kB") : number(n / 1e6, "%.2f MB"); }

/// dense / this: how many times less.
std::string ratio(double dense, double own) { return own > 0 ? number(dense / own, dense / own < 9.95 ? "%.1fx" : "%.0fx") : "-"; }

double prefill_ms(const Cell &c) { return 1e3 * c.prefill_seconds / std::max(1, c.haystacks); }
double decode_ms(const Cell &c) { return 1e3 * c.decode_seconds / static_cast<double>(std::max<std::int64_t>(1, c.decode_steps)); }

void print(std::ostream &out, const std::vector<Row> &rows, Style style) {
  std::vector<std::size_t> width(rows[0].size(), 0);
  for (const Row &row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  const bool markdown = style == Style::markdown;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (std::size_t i = 0; i < rows[r].size(); ++i) {
      const std::string pad(width[i] - rows[r][i].size(), ' ');
      out << (markdown ? "| " : i ? "  " : "") << (i == 1 ? rows[r][i] + pad : pad + rows[r][i]) << (markdown ? " " : "");
    }
    out << (markdown ? "|\n" : "\n");
    if (r != 0) continue;
    for (std::size_t i = 0; i < width.size(); ++i)
      out << (markdown ? "|" : i ? "  " : "") << std::string(width[i] + (markdown ? 1 : 0), '-') << (markdown ? (i == 1 ? "-" : ":") : "");
    out << (markdown ? "|\n" : "\n");
  }
}

const Cell *dense_of(const std::vector<Cell> &cells, std::int64_t length) {
  for (const Cell &cell : cells)
    if (cell.length == length && cell.settings.method == TAMIS_SELECT_DENSE) return &cell;
  return nullptr;
}

Row depth_headings() {
  Row row;
  for (int i = 0; i < kDepthBins; ++i) row.push_back(std::to_string(100 * i / kDepthBins) + "-" + std::to_string(100 * (i + 1) / kDepthBins) + "%");
  return row;
}

void append(Row &row, const Row &more) { row.insert(row.end(), more.begin(), more.end()); }

Row by_depth(const Cell &cell) {
  Row row;
  for (std::size_t i = 0; i < kDepthBins; ++i) row.push_back(percent(cell.right[i], cell.asked[i]));
  return row;
}

}  // namespace

std::pair<double, double> wilson(int right, int asked) {
  if (asked == 0) return {0, 1};
  const double n = asked, p = right / n, z = 1.959963984540054, zz = z * z / n;
  const double middle = (p + zz / 2) / (1 + zz), half = z * std::sqrt(p * (1 - p) / n + zz / (4 * n)) / (1 + zz);
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

void print_methods(std::ostream &out, const std::vector<Cell> &cells, Style style) {
  std::vector<Row> rows{{"length", "method", "exact %", "95 % CI"}};
  append(rows[0], depth_headings());
  append(rows[0], {"tokens/step", "KV/step", "(x)", "prefill ms", "(x)", "ms/token", "(x)"});
  for (const Cell &cell : cells) {
    const Cell *dense = dense_of(cells, cell.length);
    const auto against = [&](auto measure) { return dense ? ratio(measure(*dense), measure(cell)) : std::string("-"); };
    Row row{std::to_string(cell.length), method_name(cell.settings.method), percent(cell.total_right(), cell.total_asked()), interval(cell)};
    append(row, by_depth(cell));
    append(row, {number(cell.tokens_per_step(), "%.0f"), bytes(cell.kv_bytes_per_step()), against([](const Cell &c) { return c.kv_bytes_per_step(); }),
                 number(prefill_ms(cell), "%.0f"), against(prefill_ms), number(decode_ms(cell), "%.3f"), against(decode_ms)});
    rows.push_back(std::move(row));
  }
  print(out, rows, style);
}

void print_chunks(std::ostream &out, const std::vector<Cell> &cells, Style style) {
  std::vector<Row> rows{{"chunk", "method", "length", "recent", "exact %", "95 % CI"}};
  append(rows[0], depth_headings());
  append(rows[0], {"prefill ms"});
  for (const Cell &cell : cells) {
    Row row{std::to_string(cell.settings.chunk),  method_name(cell.settings.method), std::to_string(cell.length),
            std::to_string(cell.settings.recent), percent(cell.total_right(), cell.total_asked()), interval(cell)};
    append(row, by_depth(cell));
    append(row, {number(prefill_ms(cell), "%.0f")});
    rows.push_back(std::move(row));
  }
  print(out, rows, style);
}

nlohmann::ordered_json to_json(const Cell &cell) {
  const auto [low, high] = wilson(cell.total_right(), cell.total_asked());
  return {{"length", cell.length},
          {"method", method_name(cell.settings.method)},
          {"sinks", cell.settings.sinks},
          {"topk", cell.settings.top_k},
          {"recent", cell.settings.recent},
          {"chunk", cell.settings.chunk},
          {"pool", cell.settings.pool},
          {"similarity", cell.settings.similarity},
          {"right", cell.total_right()},
          {"asked", cell.total_asked()},
          {"wilson95", {low, high}},
          {"right_by_depth", cell.right},
          {"asked_by_depth", cell.asked},
          {"haystacks", cell.haystacks},
          {"tokens_per_step", cell.tokens_per_step()},
          {"kv_bytes_per_step", cell.kv_bytes_per_step()},
          {"decode_steps", cell.decode_steps},
          {"decode_cache_hits", cell.decode.cache_hits},
          {"decode_selections", cell.decode.selections},
          {"prefill_ms", prefill_ms(cell)},
          {"decode_ms_per_token", decode_ms(cell)}};
}

}  // namespace haystack
