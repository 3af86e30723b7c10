#include "trial.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <stdexcept>

namespace haystack {
namespace {

// train.py draws the words of its needles from this id on; the model has not learnt to recall the ones before
constexpr std::int32_t kFirstWord = 300;
constexpr std::int64_t kNeedleTokens = 6, kQuestionTokens = 3, kAnswerTokens = 2;
// tokens that pass a layer together in prefill; the selector cuts them further into its own chunks
constexpr std::int64_t kPrefillTokens = 512;

/// Uniform in [0, n), the same on every platform (std::uniform_int_distribution is not).
std::int64_t below(std::mt19937_64 &random, std::int64_t n) {
  return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
}
double unit(std::mt19937_64 &random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

/// A space and three or more ASCII letters: a whole word in one token.
bool is_word(const std::string &bytes) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return bytes.size() >= 4 && bytes[0] == ' ' && std::all_of(bytes.begin() + 1, bytes.end(), letter);
}

std::int32_t single(const Tokenizer &tokenizer, const char *text) {
  const auto ids = tokenizer.encode(text);
  if (ids.size() != 1) throw std::runtime_error(std::string("tokenizer: \"") + text + "\" is not one token");
  return ids[0];
}

std::int32_t argmax(const std::vector<float> &logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

class Stopwatch {
 public:
  explicit Stopwatch(double &sum) : sum_(sum), begin_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { sum_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  double &sum_;
  std::chrono::steady_clock::time_point begin_;
};

/// Feeds the haystack in stretches of whole chunks, so that the selector's chunks fall at the same places as one by one.
void prefill(Model &model, const Haystack &haystack, int chunk, tamis::Sequence &sequence, tamis::Selector &selector, Cell &cell) {
  const Stopwatch watch(cell.prefill_seconds);
  const std::int64_t stretch = std::max<std::int64_t>(1, kPrefillTokens / chunk) * chunk;
  const auto n = static_cast<std::int64_t>(haystack.tokens.size());
  for (std::int64_t at = 0; at < n; at += stretch) {
    const auto begin = haystack.tokens.begin() + at;
    model.forward({begin, begin + std::min(stretch, n - at)}, sequence, selector, cell.prefill);
  }
  cell.prefill_tokens += n;
}

/// Question and answer, token by token, on a fork of the haystack: every question starts from the same state.
bool answers(Model &model, const Needle &needle, std::int32_t key, const tamis::Sequence &haystack, tamis::Selector &selector, Cell &cell) {
  tamis::Sequence sequence = haystack.fork();
  const Stopwatch watch(cell.decode_seconds);
  const auto step = [&](std::int32_t token) {
    ++cell.decode_steps;
    return argmax(model.forward({token}, sequence, selector, cell.decode));
  };
  step(key);
  step(needle.w1);
  const std::int32_t first = step(needle.w2);
  return step(first) == needle.v2 && first == needle.v1;
}

}  // namespace

HaystackMaker::HaystackMaker(const Tokenizer &tokenizer, std::vector<std::int32_t> text)
    : text_(std::move(text)), key_(single(tokenizer, " key")), stop_(single(tokenizer, ".")) {
  for (std::int32_t id = kFirstWord; id < tokenizer.size(); ++id)
    if (id != key_ && is_word(tokenizer.bytes(id))) words_.push_back(id);
}

/// Tokens of text in a haystack.
std::int64_t HaystackMaker::filler(std::int64_t length, int needles) {
  return length - needles * kNeedleTokens - kQuestionTokens - kAnswerTokens;
}

void HaystackMaker::check(std::int64_t length, int needles) const {
  const std::int64_t text = filler(length, needles);
  if (text < needles)
    throw std::runtime_error("length " + std::to_string(length) + " has no room for text around " + std::to_string(needles) + " needles");
  if (text > text_length())
    throw std::runtime_error("the text has " + std::to_string(text_length()) + " tokens; length " + std::to_string(length) + " takes " +
                             std::to_string(text) + " of them");
  if (static_cast<std::size_t>(needles) * 4 > words_.size())
    throw std::runtime_error("the tokenizer has " + std::to_string(words_.size()) + " whole words; " + std::to_string(needles) +
                             " needles take four each");
}

Haystack HaystackMaker::make(std::int64_t length, int needles, std::mt19937_64 &random) const {
  check(length, needles);
  const std::int64_t filler = HaystackMaker::filler(length, needles);
  // the first 4 * needles places of a Fisher-Yates shuffle: no word appears in two needles
  std::vector<std::int32_t> words = words_;
  for (std::int64_t i = 0; i < 4 * needles; ++i)
    std::swap(words[static_cast<std::size_t>(i)], words[static_cast<std::size_t>(i + below(random, static_cast<std::int64_t>(words.size()) - i))]);

  Haystack haystack;
  const std::int64_t start = below(random, text_length() - filler + 1);
  std::int64_t at = 0;
  const auto fill = [&](std::int64_t until) {
    haystack.tokens.insert(haystack.tokens.end(), text_.begin() + start + at, text_.begin() + start + until);
    at = until;
  };
  for (int i = 0; i < needles; ++i) {
    // a quarter of a step either way, so that no depth is tied to one place within a prefill chunk
    fill(static_cast<std::int64_t>(static_cast<double>(filler) * (i + 0.25 + 0.5 * unit(random)) / needles));
    const std::int32_t *w = &words[static_cast<std::size_t>(4 * i)];
    const auto place = static_cast<std::int64_t>(haystack.tokens.size());
    const std::int64_t size = length - kQuestionTokens - kAnswerTokens;
    haystack.needles.push_back({w[0], w[1], w[2], w[3], static_cast<int>(place * kDepthBins / size)});
    haystack.tokens.insert(haystack.tokens.end(), {key_, w[0], w[1], w[2], w[3], stop_});
  }
  fill(filler);
  return haystack;
}

tamis_selector_options Settings::options(const Config &config) const {
  auto o = tamis::defaults<tamis_selector_options>();
  o.method = method;
  o.q_heads = static_cast<std::int32_t>(config.q_heads);
  o.n_sink = sinks;
  o.top_k = method == TAMIS_SELECT_TOKENSELECT ? top_k : 0;
  o.n_recent = method == TAMIS_SELECT_STREAMING ? recent + top_k : recent;
  o.chunk = chunk;
  o.similarity = similarity;
  o.pool = pool;
  if (method == TAMIS_SELECT_DENSE) o.chunk = o.n_recent = static_cast<std::int32_t>(kPrefillTokens);  // its result has no chunks
  return o;
}

int Cell::total_right() const { return std::accumulate(right.begin(), right.end(), 0); }
int Cell::total_asked() const { return std::accumulate(asked.begin(), asked.end(), 0); }
double Cell::tokens_per_step() const { return static_cast<double>(decode.tokens_attended) / static_cast<double>(std::max<std::int64_t>(1, decode.queries)); }
double Cell::kv_bytes_per_step() const { return static_cast<double>(decode.kv_bytes_read) / static_cast<double>(std::max<std::int64_t>(1, decode_steps)); }

Cell run_cell(Experiment &experiment, std::int64_t length, const Settings &settings) {
  Cell cell;
  cell.length = length;
  cell.settings = settings;
  const tamis_selector_options options = settings.options(experiment.model.config());
  std::mt19937_64 random(experiment.seed * 1000003 + static_cast<std::uint64_t>(length));
  const int haystacks = experiment.haystacks();
  // a fork copies the last page when it appends, and may open one more
  tamis::KVCache cache = experiment.model.make_cache(experiment.context, length + 3 * 64, experiment.dtype, experiment.scoring_copy);
  tamis::Selector selector(cache, options);
  for (; cell.haystacks < haystacks; ++cell.haystacks) {
    experiment.note(std::to_string(length) + " tokens, " + method_name(settings.method) + ": haystack " + std::to_string(cell.haystacks + 1) + " of " +
                    std::to_string(haystacks));
    const Haystack haystack = experiment.maker.make(length, experiment.needles, random);
    tamis::Sequence sequence = cache.sequence();
    prefill(experiment.model, haystack, options.chunk, sequence, selector, cell);
    for (const Needle &needle : haystack.needles) {
      const auto bin = static_cast<std::size_t>(needle.depth);
      ++cell.asked[bin];
      cell.right[bin] += answers(experiment.model, needle, experiment.maker.key(), sequence, selector, cell);
    }
  }
  return cell;
}

const char *method_name(tamis_method method) {
  switch (method) {
    case TAMIS_SELECT_DENSE: return "dense";
    case TAMIS_SELECT_STREAMING: return "StreamingLLM";
    default: return "TokenSelect";
  }
}

}  // namespace haystack
