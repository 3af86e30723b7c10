// Needles in real text, and the questions that ask for them.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "model.hpp"
#include "tokenizer.hpp"

namespace haystack {

constexpr int kDepthBins = 5;

/// " key W1 W2 V1 V2.": six tokens. The question is " key W1 W2", the answer V1 V2.
struct Needle {
  std::int32_t w1, w2, v1, v2;
  int depth;  // bin of its place in the haystack, 0 (start) .. kDepthBins - 1 (end)
};

struct Haystack {
  std::vector<std::int32_t> tokens;
  std::vector<Needle> needles;
};

/// Cuts haystacks out of a text: a window at a random place, needles of random whole words at evenly spaced, jittered depths.
class HaystackMaker {
 public:
  /// Throws std::runtime_error when the tokenizer lacks what a needle needs.
  HaystackMaker(const Tokenizer &tokenizer, std::vector<std::int32_t> text);

  /// `length` counts haystack, question and answer. Throws std::runtime_error when the text, the length or the vocabulary is
  /// too small.
  void check(std::int64_t length, int needles) const;

  /// As `check`.
  Haystack make(std::int64_t length, int needles, std::mt19937_64 &random) const;

  std::int32_t key() const { return key_; }
  std::int64_t text_length() const { return static_cast<std::int64_t>(text_.size()); }

 private:
  static std::int64_t filler(std::int64_t length, int needles);

  std::vector<std::int32_t> text_, words_;
  std::int32_t key_, stop_;
};

/// How attention chooses its tokens. Dense ignores the budget; StreamingLLM spends top_k on a longer window instead.
struct Settings {
  tamis_method method;
  int sinks, top_k, recent, chunk, pool;
  float similarity;

  tamis_selector_options options(const Config &config) const;
};

/// What one (length, method) cell gave. Times are wall clock.
struct Cell {
  std::int64_t length = 0;
  Settings settings{};
  int haystacks = 0;
  std::array<int, kDepthBins> right{}, asked{};
  std::int64_t prefill_tokens = 0, decode_steps = 0;
  double prefill_seconds = 0, decode_seconds = 0;
  tamis_retrieval_stats prefill = TAMIS_RETRIEVAL_STATS_INIT, decode = TAMIS_RETRIEVAL_STATS_INIT;

  int total_right() const;
  int total_asked() const;
  double tokens_per_step() const;    // keys attended by one query in one layer, decode
  double kv_bytes_per_step() const;  // all layers, scoring included, decode
};

/// The run a cell belongs to.
struct Experiment {
  const tamis::Context &context;
  Model &model;
  const HaystackMaker &maker;
  int trials, needles;  // questions per cell, rounded up to whole haystacks of `needles` questions
  std::uint64_t seed;
  tamis_dtype dtype, scoring_copy;  // of the cache; scoring_copy as in tamis_kv_options
  std::function<void(const std::string &)> note;  // told what is being done

  int haystacks() const { return (trials + needles - 1) / needles; }
  int questions() const { return haystacks() * needles; }
};

/// Every cell of a length sees the same haystacks.
Cell run_cell(Experiment &experiment, std::int64_t length, const Settings &settings);

const char *method_name(tamis_method method);

}  // namespace haystack
