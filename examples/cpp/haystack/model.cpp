#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <stdexcept>

#include <cblas.h>
#include <nlohmann/json.hpp>

namespace haystack {
namespace {

/// y [rows, out] (+)= x [rows, in] . w^T, w [out, in]. One row is a matrix-vector product.
void linear(const float *x, const std::vector<float> &w, float *y, std::int64_t rows, std::int64_t in, std::int64_t out, float keep = 0) {
  const int m = static_cast<int>(rows), k = static_cast<int>(in), n = static_cast<int>(out);
  if (rows == 1)
    cblas_sgemv(CblasRowMajor, CblasNoTrans, n, k, 1, w.data(), k, x, 1, keep, y, 1);
  else
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x, k, w.data(), k, keep, y, n);
}

/// RMSNorm (arXiv 1910.07467, eq. 4) of each row.
void rms_norm(const float *x, const std::vector<float> &weight, float eps, float *y, std::int64_t rows) {
  const auto width = static_cast<std::int64_t>(weight.size());
  for (std::int64_t t = 0; t < rows; ++t, x += width, y += width) {
    float sum = 0;
    for (std::int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
    const float scale = 1 / std::sqrt(sum / static_cast<float>(width) + eps);
    for (std::int64_t i = 0; i < width; ++i) y[i] = x[i] * scale * weight[static_cast<std::size_t>(i)];
  }
}

/// SwiGLU (arXiv 2002.05202): silu(gate) * up, rows of gate ++ up [2 ffn] into rows of [ffn].
void swiglu(const float *x, std::int64_t rows, std::int64_t ffn, float *y) {
  for (std::int64_t t = 0; t < rows; ++t, x += 2 * ffn, y += ffn)
    for (std::int64_t i = 0; i < ffn; ++i) y[i] = x[i] / (1 + std::exp(-x[i])) * x[ffn + i];
}

/// One tensor of the file and the shape it must have; columns 0: a vector.
struct Part {
  std::string name;
  std::int64_t rows, columns;
};

/// The tensors under each other, in f32: projections of the same input become one product.
std::vector<float> stack(const tamis::Context &context, const tamis::Weights &weights, const std::vector<Part> &parts) {
  std::vector<float> all;
  for (const Part &part : parts) {
    const tamis::Tensor tensor = weights[part.name];
    const bool fits = tensor.shape[0] == part.rows && (part.columns ? tensor.ndim == 2 && tensor.shape[1] == part.columns : tensor.ndim == 1);
    if (!fits) throw std::runtime_error("model.safetensors: " + part.name + " has another shape than config.json says");
    const std::size_t at = all.size();
    all.resize(at + static_cast<std::size_t>(tensor.size()));
    const tamis::Tensor f32 = part.columns ? tamis::Tensor(all.data() + at, {part.rows, part.columns}) : tamis::Tensor(all.data() + at, {part.rows});
    tamis::convert(context, tensor, f32);
  }
  return all;
}

}  // namespace

Config Config::load(const std::string &path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  try {
    const auto json = nlohmann::json::parse(file);
    if (json.at("model_type") != "llama" || json.at("hidden_act") != "silu" || !json.at("tie_word_embeddings").get<bool>())
      throw std::runtime_error(path + ": another architecture; expected llama with silu and tied embeddings");
    Config c{};
    c.vocab = json.at("vocab_size");
    c.width = json.at("hidden_size");
    c.ffn = json.at("intermediate_size");
    c.layers = json.at("num_hidden_layers");
    c.q_heads = json.at("num_attention_heads");
    c.kv_heads = json.at("num_key_value_heads");
    c.trained_length = json.at("max_position_embeddings");
    c.rms_eps = json.at("rms_norm_eps");
    c.rope_theta = json.at("rope_theta");
    for (const std::int64_t size : {c.vocab, c.width, c.ffn, c.layers, c.q_heads, c.kv_heads, c.trained_length})
      if (size < 1 || size > 1 << 20) throw std::runtime_error(path + ": a size is " + std::to_string(size) + "; expected 1 to 1048576");
    c.head_dim = json.value("head_dim", c.width / c.q_heads);
    if (c.head_dim < 1 || c.head_dim > 256) throw std::runtime_error(path + ": head_dim is " + std::to_string(c.head_dim) + "; expected 1 to 256");
    return c;
  } catch (const nlohmann::json::exception &e) {
    throw std::runtime_error(path + ": not a model configuration (" + e.what() + ")");
  }
}

Model::Model(const tamis::Context &context, const std::string &folder) : config_(Config::load(folder + "/config.json")) {
  const Config &c = config_;
  const tamis::Weights weights(folder + "/model.safetensors");
  const auto load = [&](const std::vector<Part> &parts) { return stack(context, weights, parts); };
  embed_ = load({{"model.embed_tokens.weight", c.vocab, c.width}});
  norm_ = load({{"model.norm.weight", c.width, 0}});
  const std::int64_t q = c.q_heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    Layer layer;
    layer.attention_norm = load({{p + "input_layernorm.weight", c.width, 0}});
    layer.qkv = load({{p + "self_attn.q_proj.weight", q, c.width},
                      {p + "self_attn.k_proj.weight", kv, c.width},
                      {p + "self_attn.v_proj.weight", kv, c.width}});
    layer.out = load({{p + "self_attn.o_proj.weight", c.width, q}});
    layer.ffn_norm = load({{p + "post_attention_layernorm.weight", c.width, 0}});
    layer.gate_up = load({{p + "mlp.gate_proj.weight", c.ffn, c.width}, {p + "mlp.up_proj.weight", c.ffn, c.width}});
    layer.down = load({{p + "mlp.down_proj.weight", c.width, c.ffn}});
    layers_.push_back(std::move(layer));
  }
  logits_.resize(static_cast<std::size_t>(c.vocab));
}

tamis::KVCache Model::make_cache(const tamis::Context &context, std::int64_t max_tokens, tamis_dtype dtype, tamis_dtype scoring_copy) const {
  auto options = tamis::defaults<tamis_kv_options>();
  options.layers = static_cast<std::int32_t>(config_.layers);
  options.kv_heads = static_cast<std::int32_t>(config_.kv_heads);
  options.head_dim = static_cast<std::int32_t>(config_.head_dim);
  options.dtype = dtype;
  options.scoring_copy = scoring_copy;
  options.max_tokens = max_tokens;
  options.rope.style = TAMIS_ROPE_HALF;
  options.rope.base = config_.rope_theta;
  return tamis::KVCache(context, options);
}

const std::vector<float> &Model::forward(const std::vector<std::int32_t> &ids, tamis::Sequence &sequence, tamis::Selector &selector,
                                         tamis_retrieval_stats &stats) {
  const Config &c = config_;
  const auto n = static_cast<std::int64_t>(ids.size());
  const std::int64_t q_width = c.q_heads * c.head_dim, kv_width = c.kv_heads * c.head_dim, qkv_width = q_width + 2 * kv_width;
  const auto room = [n](std::vector<float> &scratch, std::int64_t width) {
    const auto size = static_cast<std::size_t>(n * width);
    if (scratch.size() < size) scratch.resize(size);
    return scratch.data();
  };
  float *h = room(h_, c.width), *a = room(a_, std::max(c.width, c.ffn)), *qkv = room(qkv_, qkv_width), *o = room(o_, q_width),
        *gate_up = room(gate_up_, 2 * c.ffn);

  for (std::int64_t t = 0; t < n; ++t) {
    const float *row = &embed_.at(static_cast<std::size_t>(ids[static_cast<std::size_t>(t)] * c.width));
    std::copy(row, row + c.width, h + t * c.width);
  }
  for (std::int64_t i = 0; i < c.layers; ++i) {
    const Layer &layer = layers_[static_cast<std::size_t>(i)];
    const auto number = static_cast<std::int32_t>(i);
    rms_norm(h, layer.attention_norm, c.rms_eps, a, n);
    linear(a, layer.qkv, qkv, n, c.width, qkv_width);
    // heads lie side by side in a row of qkv: strides make them [heads, n, head_dim] without a copy
    const tamis::Tensor q(qkv, {c.q_heads, n, c.head_dim}, {c.head_dim, qkv_width, 1});
    const tamis::Tensor k(qkv + q_width, {c.kv_heads, n, c.head_dim}, {c.head_dim, qkv_width, 1});
    const tamis::Tensor v(qkv + q_width + kv_width, {c.kv_heads, n, c.head_dim}, {c.head_dim, qkv_width, 1});
    sequence.append(number, k, v);
    selector.attend(sequence, number, q, tamis::Tensor(o, {c.q_heads, n, c.head_dim}, {c.head_dim, q_width, 1}), &stats);
    linear(o, layer.out, h, n, q_width, c.width, 1);
    rms_norm(h, layer.ffn_norm, c.rms_eps, a, n);
    linear(a, layer.gate_up, gate_up, n, c.width, 2 * c.ffn);
    swiglu(gate_up, n, c.ffn, a);
    linear(a, layer.down, h, n, c.ffn, c.width, 1);
  }
  rms_norm(h + (n - 1) * c.width, norm_, c.rms_eps, a, 1);
  linear(a, embed_, logits_.data(), 1, c.width, c.vocab);
  return logits_;
}

}  // namespace haystack
