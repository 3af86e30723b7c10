// The host's half of a LLaMA-type model: everything except attention, which libtamis serves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <tamis.hpp>

namespace haystack {

/// The fields of a Hugging Face config.json that the forward pass needs.
struct Config {
  std::int64_t vocab, width, ffn, layers, q_heads, kv_heads, head_dim, trained_length;
  float rms_eps;
  double rope_theta;

  /// Throws std::runtime_error with a sentence when the file is missing, malformed or of another architecture.
  static Config load(const std::string &path);
};

/// LLaMA (arXiv 2302.13971) with grouped-query attention and tied embeddings; weights in f32, row-major [out, in].
class Model {
 public:
  /// Reads config.json and model.safetensors of a folder. Throws std::runtime_error or tamis::error.
  Model(const tamis::Context &context, const std::string &folder);

  const Config &config() const { return config_; }

  /// A cache for this model: un-rotated keys, and the RoPE rule by which attention rotates them.
  tamis::KVCache make_cache(const tamis::Context &context, std::int64_t max_tokens, tamis_dtype dtype, tamis_dtype scoring_copy) const;

  /// Appends `ids` to the sequence, each layer attending through `selector`. Returns the logits [vocab] after the last one;
  /// they stay valid until the next call.
  const std::vector<float> &forward(const std::vector<std::int32_t> &ids, tamis::Sequence &sequence, tamis::Selector &selector,
                                    tamis_retrieval_stats &stats);

 private:
  using Matrix = std::vector<float>;
  struct Layer {
    Matrix attention_norm, qkv, out, ffn_norm, gate_up, down;
  };

  Config config_;
  Matrix embed_, norm_;
  std::vector<Layer> layers_;
  Matrix h_, a_, qkv_, o_, gate_up_, logits_;  // scratch, [tokens, ..]
};

}  // namespace haystack
