// Tests of tamis.hpp: what the header adds to the C API, and that each call reaches the library. Plain main, no framework;
// prints "N passed, N failed" and exits 1 on a failure.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <unistd.h>

#include <tamis.hpp>

namespace {

int passed = 0, failed = 0;

void expect(bool condition, const char *what, int line) {
  condition ? ++passed : ++failed;
  if (!condition) std::cerr << "line " << line << ": " << what << '\n';
}
#define EXPECT(condition) expect((condition), #condition, __LINE__)

/// The status an expression throws; TAMIS_OK when it does not.
template <class Body>
tamis_status status_of(Body body) {
  try {
    body();
  } catch (const tamis::error &e) {
    EXPECT(std::string(e.what()) != "");
    EXPECT(std::string(e.name()) == tamis_status_name(e.status()));
    return e.status();
  }
  return TAMIS_OK;
}

constexpr int kHeads = 2, kQueries = 4, kDim = 16, kTokens = 200;

std::vector<float> noise(std::size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> x(n);
  for (float &v : x) v = static_cast<float>(random() >> 8) / 8388608.0f - 1.0f;
  return x;
}

/// Attention of one query per head over listed tokens of k, v [kHeads, kTokens, kDim], in f64.
std::vector<double> oracle(const std::vector<float> &q, const std::vector<float> &k, const std::vector<float> &v, const std::vector<std::int32_t> &tokens) {
  std::vector<double> out(q.size());
  for (std::size_t h = 0; h < kQueries; ++h) {
    double sum = 0;
    for (const std::int32_t token : tokens) {
      const std::size_t row = (h / (kQueries / kHeads) * kTokens + static_cast<std::size_t>(token)) * kDim;
      double logit = 0;
      for (std::size_t d = 0; d < kDim; ++d) logit += double(q[h * kDim + d]) * double(k[row + d]);
      const double p = std::exp(logit / std::sqrt(double(kDim)));
      sum += p;
      for (std::size_t d = 0; d < kDim; ++d) out[h * kDim + d] += p * double(v[row + d]);
    }
    for (std::size_t d = 0; d < kDim; ++d) out[h * kDim + d] /= sum;
  }
  return out;
}

double difference(const std::vector<float> &a, const std::vector<double> &b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double(a[i]) - b[i]));
  return worst;
}

std::vector<std::int32_t> first_tokens(std::int32_t n) {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(n));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

tamis_kv_options kv_options() {
  auto o = tamis::defaults<tamis_kv_options>();
  o.kv_heads = kHeads;
  o.head_dim = kDim;
  o.max_tokens = 1024;
  return o;
}

tamis_selector_options selector_options() {
  auto o = tamis::defaults<tamis_selector_options>();
  o.q_heads = kQueries;
  o.n_sink = 4, o.top_k = 8, o.n_recent = 16, o.chunk = 16;
  return o;
}

void tensors() {
  float x[24] = {};
  const tamis::Tensor t(x, {2, 3, 4});
  EXPECT(t.dtype == TAMIS_F32 && t.ndim == 3 && t.size() == 24);
  EXPECT(t.stride[0] == 12 && t.stride[1] == 4 && t.stride[2] == 1);
  EXPECT(t.scale_stride[0] == 3 && t.scale_stride[1] == 1);
  const tamis::Tensor turned(x, {3, 2, 4}, {4, 12, 1});
  EXPECT(turned.stride[0] == 4 && turned.stride[1] == 12);
  const std::int8_t codes[4] = {};
  EXPECT(tamis::Tensor(codes, {1, 4}).dtype == TAMIS_I8);
  EXPECT(tamis::Tensor(codes, {1, 4}).with_scale(x).scale == x);
  const tamis::bf16 halves[4] = {};
  EXPECT(tamis::Tensor(halves, {4}).dtype == TAMIS_BF16);
  EXPECT(status_of([&] { tamis::Tensor(x, {1, 1, 1, 1, 1, 1, 1}); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::Tensor(x, {2, 2}, {2}); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void library() {
  EXPECT(tamis::version() == tamis_version());
  EXPECT(tamis_version_number() == TAMIS_VERSION_NUMBER);
  const std::string info = tamis::build_info();
  EXPECT(info.size() > 2 && info.front() == '{' && info.back() == '}');
  EXPECT(info.find(tamis::version()) != std::string::npos);
  EXPECT(tamis::Context().threads() == 1);
  EXPECT(tamis::Context::cpu(2).threads() == 2);
  EXPECT(tamis::Context().device_name().substr(0, 3) == "CPU");
  EXPECT(status_of([] { tamis::Context::cpu(-1); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void retrieval() {
  tamis::Context context;
  tamis::KVCache cache(context, kv_options());
  EXPECT(cache.options().head_dim == kDim);
  tamis::Sequence sequence = cache.sequence();
  const auto k = noise(kHeads * kTokens * kDim, 1), v = noise(kHeads * kTokens * kDim, 2), q = noise(kQueries * kDim, 3);
  sequence.append(0, tamis::Tensor(k.data(), {kHeads, kTokens, kDim}), tamis::Tensor(v.data(), {kHeads, kTokens, kDim}));
  EXPECT(sequence.length() == kTokens);

  tamis::Selector selector(cache, selector_options());
  const tamis::Tensor query(q.data(), {kQueries, 1, kDim});
  std::vector<float> votes(kTokens), out(q.size()), lse(kQueries);
  const auto tokens = selector.retrieve(sequence, 0, query, votes);
  EXPECT(tokens.size() == 4 + 8 + 16 && std::is_sorted(tokens.begin(), tokens.end()));
  EXPECT(std::isnan(votes[0]) && !std::isnan(votes[4]) && std::isnan(votes[kTokens - 1]));

  const tamis::Tensor result(out.data(), {kQueries, 1, kDim});
  auto stats = tamis::defaults<tamis_retrieval_stats>();
  selector.attend(sequence, 0, query, result, &stats);
  EXPECT(difference(out, oracle(q, k, v, tokens)) < 1e-5);
  EXPECT(stats.queries == 1 && stats.tokens_attended == 28);
  selector.attend(sequence, 0, query, result, tamis::Tensor(lse.data(), {kQueries, 1}));
  EXPECT(std::isfinite(lse[0]));
  const std::vector<std::int32_t> chosen{0, 7, 100, kTokens - 1};
  selector.attend_tokens(sequence, 0, query, chosen, result);
  EXPECT(difference(out, oracle(q, k, v, chosen)) < 1e-5);
  selector.reset(sequence);
  selector.reset();

  auto dense = selector_options();
  dense.method = TAMIS_SELECT_DENSE;
  tamis::Selector everything(cache, dense);
  EXPECT(everything.retrieve(sequence, 0, query) == first_tokens(kTokens));
  everything.attend(sequence, 0, query, result);
  std::vector<float> plain(q.size());
  tamis::attention(context, query, tamis::Tensor(k.data(), {kHeads, kTokens, kDim}), tamis::Tensor(v.data(), {kHeads, kTokens, kDim}),
                   tamis::Tensor(plain.data(), {kQueries, 1, kDim}));
  const auto expected = oracle(q, k, v, first_tokens(kTokens));
  EXPECT(difference(out, expected) < 1e-5);
  EXPECT(difference(plain, expected) < 1e-5);

  EXPECT(status_of([&] { selector.attend(sequence, 1, query, result); }) == TAMIS_ERR_INVALID_ARGUMENT);
  std::vector<float> few(3);
  EXPECT(status_of([&] { selector.retrieve(sequence, 0, query, few); }) == TAMIS_ERR_BUFFER_TOO_SMALL);
  auto impossible = selector_options();
  impossible.n_recent = 1;
  EXPECT(status_of([&] { tamis::Selector(cache, impossible); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void ownership() {
  static_assert(!std::is_copy_constructible_v<tamis::Context> && std::is_nothrow_move_constructible_v<tamis::Context>, "");
  static_assert(!std::is_copy_constructible_v<tamis::Sequence> && std::is_nothrow_move_constructible_v<tamis::Sequence>, "");
  static_assert(!std::is_copy_constructible_v<tamis::Selector> && std::is_nothrow_move_constructible_v<tamis::Selector>, "");
  const auto k = noise(kHeads * 20 * kDim, 4);
  const tamis::Tensor rows(k.data(), {kHeads, 20, kDim});
  tamis::Sequence survivor;
  {
    tamis::Context context;
    tamis::KVCache cache(context, kv_options());
    tamis::Sequence first = cache.sequence();
    first.append(0, rows, rows);
    tamis::Sequence fork = first.fork(12);
    EXPECT(fork.length() == 12 && first.length() == 20 && fork.id() != first.id());
    EXPECT(cache.memory().sequences == 2);
    { tamis::Sequence moved = std::move(first); }
    EXPECT(cache.memory().sequences == 1);
    fork.truncate(5);
    EXPECT(fork.length() == 5);
    survivor = std::move(fork);
    EXPECT(cache.memory().sequences == 1);
  }
  // the cache and the context are gone; the sequence keeps what it needs
  EXPECT(survivor.length() == 5);
  std::vector<float> back(kHeads * 5 * kDim), values(back.size());
  survivor.read(0, 0, tamis::Tensor(back.data(), {kHeads, 5, kDim}), tamis::Tensor(values.data(), {kHeads, 5, kDim}));
  EXPECT(std::equal(back.begin(), back.begin() + 5 * kDim, k.begin()) && back == values);
}

void snapshots() {
  const std::string path = "/tmp/tamis-hpp-" + std::to_string(getpid()) + ".kv";
  tamis::Context context;
  tamis::KVCache cache(context, kv_options());
  tamis::Sequence sequence = cache.sequence();
  const auto k = noise(kHeads * kTokens * kDim, 5);
  const tamis::Tensor rows(k.data(), {kHeads, kTokens, kDim});
  sequence.append(0, rows, rows);
  cache.save(path, {}, 1);
  EXPECT(tamis::KVCache::snapshot_info(path).second == 1);
  EXPECT(tamis::KVCache::snapshot_info(path).first.head_dim == kDim);
  tamis::KVCache other(context, kv_options());
  auto restored = other.restore(path);
  EXPECT(restored.size() == 1 && restored[0].length() == kTokens);
  std::vector<float> back(k.size()), values(k.size());
  restored[0].read(0, 0, tamis::Tensor(back.data(), {kHeads, kTokens, kDim}), tamis::Tensor(values.data(), {kHeads, kTokens, kDim}));
  EXPECT(back == k && values == k);
  // what the callback throws reaches the caller; false cancels
  struct Stop {};
  bool stopped = false;
  try {
    cache.save(path, {}, 1, [](double) -> bool { throw Stop(); });
  } catch (const Stop &) {
    stopped = true;
  }
  EXPECT(stopped);
  EXPECT(status_of([&] { cache.save(path, {}, 1, [](double) { return false; }); }) == TAMIS_ERR_CANCELLED);
  std::remove(path.c_str());
  EXPECT(status_of([&] { other.restore(path); }) == TAMIS_ERR_NOT_FOUND);
}

void operations() {
  tamis::Context context;
  const float scores[] = {1, 5, std::numeric_limits<float>::quiet_NaN(), 5, 2, 9};
  EXPECT((tamis::top_k(context, scores, 3) == std::vector<std::int32_t>{1, 3, 5}));
  EXPECT(tamis::top_k(context, scores, 100).size() == 6);
  EXPECT(status_of([&] { tamis::top_k(context, scores, -1); }) == TAMIS_ERR_INVALID_ARGUMENT);

  const float numbers[] = {1, -2.5f, 65504};
  tamis::f16 halves[3];
  tamis::convert(context, tamis::Tensor(numbers, {3}), tamis::Tensor(halves, {3}));
  EXPECT(halves[0].bits == 0x3c00 && halves[1].bits == 0xc100 && halves[2].bits == 0x7bff);

  tamis_rope rope = TAMIS_ROPE_INIT;
  rope.style = TAMIS_ROPE_HALF;
  float x[8] = {1, 0, 0, 0, 0, 0, 0, 0};
  tamis::rope_apply(context, rope, tamis::Tensor(x, {1, 8}), 1, tamis::Tensor(x, {1, 8}));
  EXPECT(std::abs(x[0] - std::cos(1.0f)) < 1e-6f && std::abs(x[4] - std::sin(1.0f)) < 1e-6f);

  // two halves of the keys, merged by log-sum-exp, are attention over all of them
  const auto q = noise(kDim, 6), k = noise(10 * kDim, 7), v = noise(10 * kDim, 8);
  const auto half = [&](const std::vector<float> &t, std::size_t from, std::int64_t n) { return tamis::Tensor(t.data() + from * kDim, {1, n, kDim}); };
  const tamis::Tensor query(q.data(), {1, 1, kDim});
  std::vector<float> a(kDim), b(kDim), all(kDim), merged(kDim);
  float la = 0, lb = 0, lall = 0, lmerged = 0;
  const tamis::Tensor ta(a.data(), {1, 1, kDim}), tb(b.data(), {1, 1, kDim}), tl(&la, {1, 1}), tlb(&lb, {1, 1}), tlall(&lall, {1, 1});
  tamis::attention(context, query, half(k, 0, 4), half(v, 0, 4), ta, &tl);
  tamis::attention(context, query, half(k, 4, 6), half(v, 4, 6), tb, &tlb);
  tamis::attention(context, query, half(k, 0, 10), half(v, 0, 10), tamis::Tensor(all.data(), {1, 1, kDim}), &tlall);
  const tamis_tensor parts[] = {ta, tb}, lses[] = {tl, tlb};
  tamis::merge(context, parts, lses, tamis::Tensor(merged.data(), {1, 1, kDim}), tamis::Tensor(&lmerged, {1, 1}));
  EXPECT(difference(merged, std::vector<double>(all.begin(), all.end())) < 1e-5 && std::abs(lmerged - lall) < 1e-5f);

  // tiles 0 and 2 of three: attention over keys 0 .. 3 and 8, 9
  const std::int64_t row_ptr[] = {0, 2};
  const std::int32_t index[] = {0, 2};
  tamis_tiles tiles = TAMIS_TILES_INIT;
  tiles.key_block = 4;
  tiles.row_ptr = row_ptr;
  tiles.index = index;
  tiles.n_rows = 1;
  tamis::attention(context, query, half(k, 8, 2), half(v, 8, 2), tb, &tlb);
  tamis::merge(context, parts, lses, tamis::Tensor(merged.data(), {1, 1, kDim}), tamis::Tensor(&lmerged, {1, 1}));
  const tamis::Tensor tall(all.data(), {1, 1, kDim});
  tamis::sparse_attention(context, &tiles, query, half(k, 0, 10), half(v, 0, 10), tall, &tlall);
  EXPECT(difference(merged, std::vector<double>(all.begin(), all.end())) < 1e-5 && std::abs(lmerged - lall) < 1e-5f);
  const tamis::SparseMask mask(tiles, 1, 1, 10);
  EXPECT(mask.tiles().n_rows == 1 && mask.tiles().index[1] == 2 && mask.boundaries().empty());
  EXPECT(mask.stats(1).pairs_attended == 6 && mask.stats(1).pairs_legal == 10 && mask.stats(1).tiles_legal == 3);
}

void sparse_prefill() {
  const tamis::Context context;
  constexpr std::int64_t n = 200;
  const auto q = noise(2 * n * kDim, 21), k = noise(n * kDim, 22), v = noise(n * kDim, 23);
  std::vector<float> out(q.size()), dense(q.size());
  const tamis::Tensor tq(q.data(), {2, n, kDim}), tk(k.data(), {1, n, kDim}), tv(v.data(), {1, n, kDim});
  const tamis::Tensor to(out.data(), {2, n, kDim}), td(dense.data(), {2, n, kDim});
  auto options = tamis::defaults<tamis_sparse_options>();
  options.dense_below = 0;
  options.query_block = options.key_block = 32;
  options.density = 0.5f;
  const tamis::SparseMask mask = tamis::sparse_select(context, options, tq, tk);
  EXPECT(mask.tiles().heads == 2 && mask.tiles().n_rows == 14 && mask.tiles().row_ptr[7] == 1 + 2 + 3 + 3 + 3 + 3 + 3);
  const tamis_tiles tiles = mask.tiles();
  tamis::sparse_attention(context, &tiles, tq, tk, tv, td);
  tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
  tamis::sparse_prefill(context, options, tq, tk, tv, to, nullptr, tamis::defaults<tamis_attention_options>(), &stats);
  EXPECT(out == dense && stats.calls_sparse == 1 && stats.tiles_listed == 36);
  options.density = 1;
  tamis::attention(context, tq, tk, tv, td);
  tamis::sparse_prefill(context, options, tq, tk, tv, to);
  EXPECT(out == dense);
  options.density = 3;
  EXPECT(status_of([&] { tamis::sparse_select(context, options, tq, tk); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void weights() {
  const std::string path = "/tmp/tamis-hpp-" + std::to_string(getpid()) + ".safetensors";
  std::string header = R"({"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  const float data[6] = {1, 2, 3, 4, 5, 6};
  file += header + std::string(reinterpret_cast<const char *>(data), sizeof data);
  std::FILE *out = std::fopen(path.c_str(), "wb");
  std::fwrite(file.data(), 1, file.size(), out);
  std::fclose(out);
  {
    tamis::Weights w(path);
    EXPECT(w.count() == 1 && w.names() == std::vector<std::string>{"b"});
    const tamis::Tensor b = w["b"];
    EXPECT(b.dtype == TAMIS_F32 && b.ndim == 2 && b.shape[1] == 3 && static_cast<const float *>(b.data)[5] == 6);
    EXPECT(status_of([&] { w["missing"]; }) == TAMIS_ERR_NOT_FOUND);
  }
  std::remove(path.c_str());
  EXPECT(status_of([&] { tamis::Weights w(path); }) == TAMIS_ERR_NOT_FOUND);
}

constexpr std::string_view kText =
    "The chair said: well, you know, I believe the council will, um, approve a budget of $5.2 million on Monday.\nJohn: Really? I am not so "
    "sure that they will, caf\xc3\xa9 or not.";

void tokenizers() {
  const tamis::Tokenizer tokenizer(tamis::Compressor::default_path());
  const auto info = tokenizer.info();
  EXPECT(info.model == TAMIS_MODEL_WORDPIECE && info.template_tokens == 2);
  const tamis::Encoding encoding = tokenizer.encode(kText);
  const auto ids = encoding.ids();
  EXPECT(encoding.count() == 1 && static_cast<std::int64_t>(ids.size()) == tokenizer.count(kText));
  EXPECT(tokenizer.piece(ids[0]) == "[CLS]" && tokenizer.id("[CLS]") == ids[0] && tokenizer.is_special(ids[0]));
  EXPECT(tokenizer.piece(ids[1]) == "the" && !tokenizer.is_special(ids[1]));
  const tamis_encoded first = encoding[0];
  EXPECT(first.starts[1] == 0 && first.ends[1] == 3 && first.starts[0] == 0 && first.ends[0] == 0);
  // a text longer than the first try of a (buffer, capacity, needed) call
  const std::string lower = tokenizer.decode(tokenizer.encode(std::string(kText) + std::string(kText)).ids());
  EXPECT(lower.size() > 255 && lower.find("the chair said : well") == 0);
  tamis::Decoder decoder(tokenizer);
  std::string streamed;
  for (const std::int32_t id : ids) streamed += decoder.push(id);
  EXPECT(streamed + decoder.finish() == tokenizer.decode(ids));

  auto plain = tamis::defaults<tamis_encode_options>();
  plain.add_special = 0;
  EXPECT(tokenizer.count(kText, plain) == tokenizer.count(kText) - 2 && tokenizer.encode("", plain).ids().size() == 0);
  EXPECT(tokenizer.encode_pair("one", "two").ids().size() == 5 && tokenizer.encode_pair("one", {}).ids().size() == 4);
  const std::string_view texts[] = {"one", "", kText};
  const tamis::Encoding batch = tokenizer.encode_batch(tamis::Context(), texts);
  EXPECT(batch.count() == 3 && batch.ids(1).size() == 2);
  EXPECT(std::equal(ids.begin(), ids.end(), batch.ids(2).begin()) && batch.ids(2).size() == ids.size());

  const tamis::Tokenizer small = tamis::Tokenizer::from_bytes("[UNK]\na\n##b\n", TAMIS_TOKENIZER_VOCAB_TXT);
  EXPECT(small.encode("ab", plain).ids().size() == 2 && small.piece(2) == "##b");
  EXPECT(status_of([&] { small.id("nowhere"); }) == TAMIS_ERR_NOT_FOUND);
  EXPECT(status_of([&] { encoding.ids(1); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([] { tamis::Tokenizer("/nowhere"); }) == TAMIS_ERR_NOT_FOUND);
}

void encoders() {
  const std::string path = tamis::Compressor::default_path();
  const tamis::Tokenizer tokenizer(path);
  tamis::Encoder encoder(tamis::Context(), path);
  const auto info = encoder.info();
  EXPECT(info.kind == TAMIS_ENCODER_ELECTRA && info.labels == 2 && encoder.label(1) == "keep");
  tamis::TokenBatch batch;
  batch.append(tokenizer.encode(kText).ids());
  batch.append(tokenizer.encode("short").ids());
  const std::int64_t n = batch.tokens();
  EXPECT(batch.sequences() == 2 && n == tokenizer.count(kText) + 3);
  std::vector<float> logits(2 * n), p(2 * n), states(n * info.hidden), vectors(2 * info.hidden);
  encoder.classify(batch, tamis::Tensor(logits.data(), {n, 2}));
  encoder.classify(batch, tamis::Tensor(p.data(), {n, 2}), TAMIS_CLASS_PROBABILITIES);
  double worst = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    const double keep = 1 / (1 + std::exp(double(logits[2 * t]) - double(logits[2 * t + 1])));
    worst = std::max({worst, std::abs(p[2 * t + 1] - keep), std::abs(p[2 * t] - (1 - keep))});
  }
  EXPECT(worst < 1e-6);
  // a vector is the mean of its sequence's states
  encoder.states(batch, tamis::Tensor(states.data(), {n, info.hidden}));
  encoder.embed(batch, tamis::Tensor(vectors.data(), {2, info.hidden}), TAMIS_POOLING_MEAN, 0);
  worst = 0;
  for (std::int32_t j = 0; j < info.hidden; ++j) {
    double sum = 0;
    for (std::int64_t t = n - 3; t < n; ++t) sum += states[t * info.hidden + j];
    worst = std::max(worst, std::abs(vectors[info.hidden + j] - sum / 3));
  }
  EXPECT(worst < 1e-5);
  const tamis::Tensor few(states.data(), {n - 1, info.hidden}), out(p.data(), {n, 2});
  EXPECT(status_of([&] { encoder.states(batch, few); }) == TAMIS_ERR_INVALID_ARGUMENT);
  const auto stop = [](double) { return false; };
  EXPECT(status_of([&] { encoder.classify(batch, out, TAMIS_CLASS_LOGITS, stop); }) == TAMIS_ERR_CANCELLED);
  EXPECT(status_of([] { tamis::Encoder(tamis::Context(), "/nowhere"); }) == TAMIS_ERR_NOT_FOUND);
}

void compression() {
  tamis::Context context;
  const std::string path = tamis::Compressor::default_path();
  tamis::Encoder encoder(context, path);
  const tamis::Tokenizer tokenizer(path);
  tamis::Compressor compressor(context, encoder, tokenizer);
  auto options = tamis::defaults<tamis_compress_options>();
  auto plain = tamis::defaults<tamis_encode_options>();
  plain.add_special = 0;
  EXPECT(compressor.count(kText) == tokenizer.count(kText, plain));

  options.rate = 1;
  EXPECT(compressor.compress(kText, options).text() == kText);
  options.rate = 0.5;
  const char *const forced[] = {"Monday"};
  options.force_tokens = forced;
  options.n_force_tokens = 1;
  const tamis::Compression half = compressor.compress(kText, options);
  const auto report = half.report();
  EXPECT(report.origin_tokens == compressor.count(kText) && report.contexts == 1 && report.chunks == 1);
  EXPECT(report.compressed_tokens <= (report.origin_tokens + 1) / 2 && report.compressed_tokens > report.origin_tokens / 3);
  EXPECT(half.text() == half.text(0) && half.text().find("Monday") != std::string_view::npos);
  EXPECT(half.context().kept == 1 && half.context().compressed_tokens == report.compressed_tokens && half.word_text().empty());

  // a word's probability is the mean of its pieces'
  tamis::TokenBatch batch;
  const tamis::Encoding ids = tokenizer.encode(kText);
  batch.append(ids.ids());
  std::vector<float> p(2 * batch.tokens());
  encoder.classify(batch, tamis::Tensor(p.data(), {batch.tokens(), 2}), TAMIS_CLASS_PROBABILITIES);
  std::size_t token = 1;
  std::int64_t kept = 0;
  for (const tamis_word &word : half.words()) {
    double sum = 0;
    for (std::uint32_t k = 0; k < word.pieces; ++k) sum += p[2 * token++ + 1];
    EXPECT(std::abs(word.probability - sum / word.pieces) < 1e-5);
    const auto in = [&](const tamis_span &s) { return s.start <= word.start && word.end <= s.end; };
    const bool inside = std::any_of(half.spans().begin(), half.spans().end(), in);
    EXPECT(inside == ((word.flags & TAMIS_WORD_KEPT) != 0));
    kept += inside;
  }
  EXPECT(token + 1 == ids.ids().size() && kept == report.words_kept);

  // from the folder, with a counter of its own, several texts and a progress
  tamis::Compressor opened(context, path, path + "/tokenizer.json");
  const std::string_view texts[] = {kText, "", "one more"};
  double last = 0;
  const tamis::Compression three = opened.compress(texts, options, [&](double done) { return last = done, true; });
  EXPECT(three.report().contexts == 3 && last > 0.9 && three.text(1).empty() && three.text(2).size() < texts[2].size());
  const auto first = three.context(0);
  EXPECT(first.origin_tokens == report.origin_tokens && first.compressed_tokens <= (report.origin_tokens + 1) / 2);
  tamis::Compressor shipped{tamis::Context()};
  EXPECT(shipped.compress(kText, options).text() == half.text());

  EXPECT(status_of([&] { half.words(1); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { opened.compress(kText, options, [](double) { return false; }); }) == TAMIS_ERR_CANCELLED);
  options.rate = 2;
  EXPECT(status_of([&] { opened.compress(kText, options); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::Compressor(context, "/nowhere"); }) == TAMIS_ERR_NOT_FOUND);
}

void sinks() {
  auto options = tamis::defaults<tamis_zero_tuning_options>();
  options.layers = 2;
  options.heads = 3;
  int calls = 0;
  const auto score = [&](tamis::span<const float> gammas) {
    ++calls;
    EXPECT(gammas.size() == 6);
    return -std::abs(double(gammas[1]) - 4);
  };
  const tamis::ZeroTuning found = tamis::zero_tuning_search(options, score);
  EXPECT(found.gammas == std::vector<float>({1, 4, 1, 1, 4, 1}) && found.unit_effects == std::vector<double>({0, 1, 0}));
  EXPECT(found.result.best == 0 && found.result.tuned == 1 && found.result.evaluations == calls);
  EXPECT(tamis::zero_tuning_bias(found.gammas)[0] == 0 && std::abs(tamis::zero_tuning_bias(found.gammas)[1] - std::log(4.0f)) < 1e-6f);
  EXPECT(status_of([&] { tamis::zero_tuning_bias(std::vector<float>{0}); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::zero_tuning_search(options, {}); }) == TAMIS_ERR_INVALID_ARGUMENT);
  bool thrown = false;
  try {
    tamis::zero_tuning_search(options, [](tamis::span<const float>) -> double { throw std::string("mine"); });
  } catch (const std::string &text) {
    thrown = text == "mine";
  }
  EXPECT(thrown);
  options.heads = 0;
  EXPECT(status_of([&] { tamis::zero_tuning_search(options, score); }) == TAMIS_ERR_INVALID_ARGUMENT);

  // Two tokens whose weights are known: of row 1, token 1 is a sink.
  const tamis::Context context = tamis::Context::cpu(1);
  std::vector<float> q(2 * 8), k(2 * 8), v(2 * 8), out(2 * 8), lse(2);
  q[0] = q[8] = 1;
  k[8] = std::log(3.0f);
  v[0] = v[8 + 1] = 1;
  const tamis::Tensor tq(q.data(), {1, 2, 8}), tk(k.data(), {1, 2, 8}), tv(v.data(), {1, 2, 8}), to(out.data(), {1, 2, 8});
  const tamis::Tensor tl(lse.data(), {1, 2});
  tamis::ActState state(context, 1);
  auto attention = tamis::defaults<tamis_attention_options>();
  attention.scale = 1;
  auto act = tamis::defaults<tamis_act_options>();
  act.beta = 0.5f;
  tamis::act_attention(context, tq, tk, tv, to, act, &state, &tl, attention);
  EXPECT(out[0] == 1 && std::abs(out[8] - 0.625f) < 1e-6f && std::abs(out[9] - 0.375f) < 1e-6f);
  EXPECT(std::abs(lse[1] - std::log(4.0f)) < 1e-6f);
  EXPECT(state.sinks(0) == std::vector<std::int32_t>{1});
  EXPECT(status_of([&] { tamis::act_attention(context, tq, tk, tv, to, act, &state); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::act_attention(context, tq, tk, tv, to, act, nullptr, nullptr, attention, [](double) { return false; }); }) ==
         TAMIS_ERR_CANCELLED);
  state.reset();
  EXPECT(state.sinks(0).empty() && status_of([&] { state.sinks(1); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void chunks() {
  constexpr std::int64_t n = 100;
  auto k = noise(kHeads * n * kDim, 71);
  const auto q = noise(kQueries * kDim, 72);
  const tamis::Tensor tq(q.data(), {kQueries, 1, kDim});
  for (int h = 0; h < kHeads; ++h)
    for (int t = 40; t < 50; ++t)
      for (int i = 0; i < kDim; ++i) {
        float sum = 0;
        for (int g = 0; g < kQueries; ++g) sum += q[static_cast<std::size_t>(g * kDim + i)];
        k[static_cast<std::size_t>((h * n + t) * kDim + i)] = sum;
      }
  const tamis::Context context;
  auto options = tamis::defaults<tamis_chunk_index_options>();
  options.kv_heads = kHeads;
  options.head_dim = kDim;
  options.sinks = 2;
  options.local = 4;
  tamis::ChunkIndex index(context, options);
  std::vector<float> logits(n);
  for (std::size_t t = 9; t < n; t += 10) logits[t] = 2;
  auto where = tamis::defaults<tamis_boundary_options>();
  where.instruction_tokens = 0;
  where.query_block = 32;
  const auto boundaries = tamis::boundaries_from_logits(tamis::span<const float>(logits.data(), logits.size()), where);
  EXPECT(boundaries.size() == 11 && boundaries[4] == 40 && boundaries.back() == n);
  index.append(tamis::Tensor(k.data(), {kHeads, n, kDim}), tamis::span<const std::int64_t>(boundaries.data(), boundaries.size()));
  std::vector<std::int32_t> tokens(n + 1);
  EXPECT(index.select(tq, 16, tokens) == 16 && tokens[1] == 1 && tokens[2] == 40 && tokens[11] == 49 && tokens[12] == 96);
  index.append(tamis::Tensor(k.data(), {kHeads, 1, kDim}, {n * kDim, kDim, 1}));
  EXPECT(index.select(tq, -1, tokens) == n + 1);
  index.truncate(50);
  EXPECT(index.select(tq, -1, tokens) == 50);
  EXPECT(status_of([&] { index.truncate(51); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::BoundaryPredictor(context, "/nowhere"); }) == TAMIS_ERR_NOT_FOUND);
}

void metrics() {
  tamis::Context context;
  const std::string_view texts[] = {"the cat sat on the mat", "the cat is on the mat today"};
  auto cut = tamis::defaults<tamis_word_options>();
  cut.tokenizer = TAMIS_WORDS_13A;
  const tamis::WordIDs words(texts, cut);
  EXPECT(words.vocabulary() == 7 && words.lists().count == 2);
  auto options = tamis::defaults<tamis_bleu_options>();
  options.effective_order = 1;
  const auto same = tamis::bleu(context, words.lists(0, 1), words.lists(0, 1), options);
  EXPECT(same.size() == 1 && std::abs(same[0] - 100) < 1e-9);
  const double corpus = tamis::corpus_bleu(context, words.lists(0, 1), words.lists(1, 1));
  EXPECT(corpus > 0 && corpus < 50);
  EXPECT(status_of([&] { words.lists(1, 2); }) == TAMIS_ERR_INVALID_ARGUMENT);
  options.max_n = 99;
  EXPECT(status_of([&] { tamis::bleu(context, words.lists(0, 1), words.lists(1, 1), options); }) == TAMIS_ERR_INVALID_ARGUMENT);
  const std::int32_t ids[] = {1, 2, 3};
  const std::int64_t starts[] = {0, 3};
  EXPECT(tamis::bleu(context, tamis::token_lists(ids, starts), tamis::token_lists(ids, starts))[0] >= 0);
}

void tasks() {
  tamis::Context context;
  const std::string_view texts[] = {"the cats", "dogs"};
  const std::int32_t ids[] = {1, 2, 3, 4}, from[] = {0, 3, 6, 0}, to[] = {3, 6, 8, 4};
  const std::int64_t starts[] = {0, 3, 4};
  tamis::TokenStatistics statistics(4);
  statistics.add(tamis::token_lists(ids, starts), texts, from, to);
  EXPECT(statistics.sums().words == 3 && statistics.sums().continued_words == 1 && statistics.sums().unknown_tokens == 1);
  EXPECT(statistics.report().fertility == 4.0 / 3 && statistics.report().shannon_efficiency == 1);
  EXPECT(status_of([&] { statistics.add(tamis::token_lists(ids, starts), texts, from); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { statistics.add(tamis::token_lists(ids, starts), {texts, 1}); }) == TAMIS_ERR_INVALID_ARGUMENT);
  tamis::TokenStatistics words;
  words.encode(context, tamis::Tokenizer::from_bytes("[UNK]\nthe\ncats\ndogs\n", TAMIS_TOKENIZER_VOCAB_TXT), texts);
  EXPECT(words.sums().tokens == 3 && statistics.premium(words).first == 4.0 / 3 && statistics.premium(words).second == 1.25);
  words.merge(statistics);
  EXPECT(words.sums().texts == 4);

  const std::string_view four[] = {"once upon time", "when"};
  const tamis::CharBench bench(four);
  const std::int32_t lengths[] = {2, 2};
  EXPECT(bench.count() == 4 && bench.row(3).task == TAMIS_CHARBENCH_FIND_LAST);
  EXPECT(bench.features(3, lengths).target_token_length == 2);
  EXPECT(status_of([&] { bench.row(4); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(status_of([&] { tamis::CharBench({four, 1}); }) == TAMIS_ERR_INVALID_ARGUMENT);

  auto options = tamis::defaults<tamis_needle_options>();
  options.kind = TAMIS_NEEDLE_THREADING;
  options.thread_length = 3;
  const tamis::NeedleTask task(options);
  EXPECT(task.haystack().size() == 2000 && task.view().n_positions == 3 && task.view().n_answers == 1);
  EXPECT(task.prompt().find(task.haystack()) != std::string::npos && task.prompt("{character}!") == "*!");
  EXPECT(task.score(task.view().answers[0]).correct == 1 && task.score("").correct == 0);
  options.pairs = 2;
  EXPECT(status_of([&] { tamis::NeedleTask{options}; }) == TAMIS_ERR_INVALID_ARGUMENT);
  const double sizes[] = {10, 20}, shares[] = {1, 0};
  EXPECT(std::abs(tamis::effective_context_length(sizes, shares) - 10 * std::pow(2, 0.25)) < 1e-12);
  EXPECT(status_of([&] { tamis::effective_context_length(sizes, {shares, 1}); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void signals() {
  const double current[] = {0, 1, 1, 1, 1, 1}, history[] = {0, 3, 1, 2, 2, 1.5}, attention[] = {1, 0.1, 0.9, 0.2, 0.2, 0.4};
  const std::int64_t labels[] = {TAMIS_NO_LABEL, 7, 8, 9, 10, 11};
  const auto kept = tamis::sstoken(current, history, attention, labels);
  EXPECT(kept == (std::vector<std::int64_t>{TAMIS_NO_LABEL, 7, 8, 9, TAMIS_NO_LABEL, TAMIS_NO_LABEL}));
  EXPECT(tamis::sstoken(current, history, {}, labels, 1)[1] == 7);
  EXPECT(status_of([&] { tamis::sstoken(current, history, {}, labels); }) == TAMIS_ERR_INVALID_ARGUMENT);
  EXPECT(tamis::cdpo_weights(tamis::span<const double>(attention, 1)) == (std::vector<double>{0, 1}));
  const std::uint64_t counts[] = {1, 5, 3, 1};
  EXPECT(tamis::function_tokens(counts) == (std::vector<std::uint8_t>{0, 1, 0, 0}));
  const tamis::Context context;
  const float z[] = {3, 2, 1}, w[] = {1, 0, 1, 0, 0, 1};
  const std::int32_t clusters[] = {4, 4, 7};
  const tamis::Tensor logits(z, {3}), keys(w, {3, 2});
  auto options = tamis::defaults<tamis_key_options>();
  options.main = 1;
  options.top = 3;
  const auto report = tamis::key_diagnostic(context, logits, clusters, &keys, options);
  EXPECT(report.inside == 1 && report.share == 0.5 && report.correlation == -1);
  EXPECT(status_of([&] { tamis::key_diagnostic(context, logits, clusters); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

void logits() {
  tamis::Context context;
  const float z[] = {0, 0, 0, 0, 5, 0, 0, 0};
  const std::int32_t targets[] = {3, 0};
  const tamis::Tensor rows(z, {2, 4});
  tamis::LogitSummary summary(TAMIS_LOGIT_SUM_NLL | TAMIS_LOGIT_SUM_CORRECT, 10);
  float nll[2];
  tamis_logit_outputs outputs = TAMIS_LOGIT_OUTPUTS_INIT;
  outputs.nll = nll;
  tamis::logit_metrics(context, rows, targets, &outputs, &summary);
  EXPECT(std::abs(nll[0] - std::log(4.0f)) < 1e-6f && summary.tokens == 2 && summary.correct == 1);
  EXPECT(summary.perplexity() > 1 && summary.perplexity() < 4 && summary.calibration_error() > 0);
  EXPECT(std::abs(summary.bits_per_byte(1) - summary.nll / std::log(2.0)) < 1e-12);
  EXPECT(tamis::kl_divergence(context, rows, rows) == std::vector<float>({0, 0}));
  EXPECT(status_of([&] { tamis::logit_metrics(context, rows, nullptr, &outputs); }) == TAMIS_ERR_INVALID_ARGUMENT);
}

}  // namespace

int main() {
  for (void (*test)() :
       {tensors, library, retrieval, ownership, snapshots, operations, sinks, weights, tokenizers, encoders, compression,
        chunks, sparse_prefill, metrics, tasks, signals, logits}) {
    try {
      test();
    } catch (const std::exception &e) {
      expect(false, e.what(), 0);
    }
  }
  std::cout << "tamis.hpp: " << passed << " passed, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}
