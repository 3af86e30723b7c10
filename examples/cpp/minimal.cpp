// The smallest use of libtamis from C++: open a cache, append, retrieve, attend; and the same attention as a plain loop.
//
//   c++ -std=c++17 minimal.cpp -ltamis && ./a.out
#include <algorithm>
#include <cmath>
#include <iostream>
#include <random>
#include <vector>

#include <tamis.hpp>

int main() try {
  constexpr int tokens = 300, kv_heads = 2, q_heads = 4, dim = 32, needle = 137, group = q_heads / kv_heads;
  std::mt19937 random(1);
  const auto noise = [&] { return static_cast<float>(random() >> 8) / 8388608.0f - 1.0f; };
  std::vector<float> k(kv_heads * tokens * dim), v(k.size()), q(q_heads * dim), out(q.size());
  std::generate(k.begin(), k.end(), noise);
  std::generate(v.begin(), v.end(), noise);
  for (int h = 0; h < q_heads; ++h)  // every query looks for the key of token `needle`
    std::copy_n(&k[(h / group * tokens + needle) * dim], dim, &q[h * dim]);

  // A context (device, threads) and a cache on it, with one sequence. Handles free themselves.
  tamis::Context context;
  auto kv = tamis::defaults<tamis_kv_options>();
  kv.kv_heads = kv_heads;
  kv.head_dim = dim;
  tamis::KVCache cache(context, kv);
  tamis::Sequence sequence = cache.sequence();

  // Keys and values of all tokens; the last token is the one that asks.
  sequence.append(0, tamis::Tensor(k.data(), {kv_heads, tokens, dim}), tamis::Tensor(v.data(), {kv_heads, tokens, dim}));

  // TokenSelect: 4 sinks, the 8 tokens with the most votes, the 16 most recent.
  auto options = tamis::defaults<tamis_selector_options>();
  options.q_heads = q_heads;
  options.n_sink = 4, options.top_k = 8, options.n_recent = 16, options.chunk = 16;
  tamis::Selector selector(cache, options);
  const tamis::Tensor query(q.data(), {q_heads, 1, dim});
  const std::vector<std::int32_t> selected = selector.retrieve(sequence, 0, query);
  std::cout << "attends " << selected.size() << " of " << tokens << " tokens:";
  for (const std::int32_t token : selected) std::cout << ' ' << token;
  std::cout << '\n';
  selector.attend(sequence, 0, query, tamis::Tensor(out.data(), {q_heads, 1, dim}));

  // The same in f64: softmax(q . k / sqrt(d)) v over the selected tokens.
  double worst = 0;
  for (int h = 0; h < q_heads; ++h) {
    double sum = 0;
    std::vector<double> expected(dim);
    for (const std::int32_t token : selected) {
      const int row = (h / group * tokens + token) * dim;
      double logit = 0;
      for (int d = 0; d < dim; ++d) logit += double(q[h * dim + d]) * k[row + d];
      const double p = std::exp(logit / std::sqrt(double(dim)));
      sum += p;
      for (int d = 0; d < dim; ++d) expected[d] += p * v[row + d];
    }
    for (int d = 0; d < dim; ++d) worst = std::max(worst, std::abs(out[h * dim + d] - expected[d] / sum));
  }
  const bool found = std::binary_search(selected.begin(), selected.end(), needle);
  std::cout << "token " << needle << (found ? " found" : " missed") << ", largest difference from the plain loop " << worst << '\n';
  return found && worst < 1e-5 ? 0 : 1;
} catch (const tamis::error &e) {
  std::cerr << e.name() << ": " << e.what() << '\n';
  return 1;
}
