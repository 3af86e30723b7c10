// tamis.hpp: the C API of libtamis (tamis.h, the reference manual) for C++17 and later, header-only.
//
//   - handles are objects: copies are not possible, moves are, destruction frees; any order is safe
//   - a status that is not TAMIS_OK becomes tamis::error, with the status and the sentence of tamis_last_error()
//   - options are the C structs, filled with the defaults: `auto o = tamis::defaults<tamis_kv_options>(); o.layers = 4;`
//   - buffers are tamis::Tensor (a view: pointer, shape, strides) and tamis::span (std::span from C++20 on); texts are
//     std::string_view, any bytes, and offsets count bytes
//
// Nothing here allocates on the path of a decode step: append, attend and attend_tokens go straight to the C call.
#ifndef TAMIS_HPP
#define TAMIS_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L && __has_include(<span>)
#include <span>
#endif

#include <tamis.h>

namespace tamis {

// ------------------------------------------------------------------------------------------------ errors

/// A failed call: `what()` is the sentence that names the argument, its value and what was expected.
class error : public std::runtime_error {
 public:
  error(tamis_status status, const std::string &sentence) : std::runtime_error(sentence), status_(status) {}
  tamis_status status() const noexcept { return status_; }
  /// "TAMIS_ERR_CACHE_FULL"
  const char *name() const noexcept { return tamis_status_name(status_); }

 private:
  tamis_status status_;
};

/// Throws `error` unless the status is TAMIS_OK. Must run on the thread that made the call.
inline void check(tamis_status status) {
  if (status != TAMIS_OK) throw error(status, tamis_last_error());
}

// ------------------------------------------------------------------------------------------------ span

#if __cplusplus >= 202002L && __has_include(<span>)
template <class T>
using span = std::span<T>;
#else
/// As much of std::span as this header needs: a pointer and a length.
template <class T>
class span {
 public:
  constexpr span() noexcept = default;
  constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class C, class = std::enable_if_t<
                         std::is_convertible_v<std::remove_pointer_t<decltype(std::declval<C &>().data())> (*)[], T (*)[]>>>
  constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}
  constexpr T *data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr T &operator[](std::size_t i) const { return data_[i]; }
  constexpr T *begin() const noexcept { return data_; }
  constexpr T *end() const noexcept { return data_ + size_; }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};
#endif

// ------------------------------------------------------------------------------------------------ tensors

/// Elements of TAMIS_F16 and TAMIS_BF16 tensors, as their bits.
struct f16 { std::uint16_t bits; };
struct bf16 { std::uint16_t bits; };

/// The tamis_dtype of a C++ element type.
template <class T> struct dtype_of;
template <> struct dtype_of<float> : std::integral_constant<tamis_dtype, TAMIS_F32> {};
template <> struct dtype_of<f16> : std::integral_constant<tamis_dtype, TAMIS_F16> {};
template <> struct dtype_of<bf16> : std::integral_constant<tamis_dtype, TAMIS_BF16> {};
template <> struct dtype_of<std::int8_t> : std::integral_constant<tamis_dtype, TAMIS_I8> {};
template <> struct dtype_of<std::int32_t> : std::integral_constant<tamis_dtype, TAMIS_I32> {};

/// A view of memory that the caller owns, as tamis_tensor describes; it passes to every C function by `&`.
/// Views of const memory are for inputs only: the library never writes its inputs.
class Tensor : public tamis_tensor {
 public:
  using Dims = std::initializer_list<std::int64_t>;

  /// `data` [shape], row-major unless `stride` (in elements) says otherwise.
  template <class T>
  Tensor(T *data, Dims shape, Dims stride = {}) : Tensor(untyped(data), dtype_of<std::remove_const_t<T>>::value, shape, stride) {}

  Tensor(void *data, tamis_dtype dtype, Dims shape, Dims stride = {}) : tamis_tensor() {
    if (shape.size() == 0 || shape.size() > TAMIS_MAX_DIMS || (stride.size() != 0 && stride.size() != shape.size()))
      throw error(TAMIS_ERR_INVALID_ARGUMENT, "shape: expected 1 to 6 dimensions, and as many strides or none");
    this->data = data;
    this->dtype = dtype;
    ndim = static_cast<std::int32_t>(shape.size());
    // products wrap as unsigned numbers do: the library checks the sizes themselves
    std::uint64_t step = 1, row = 1;
    for (int i = ndim - 1; i >= 0; --i) {
      this->shape[i] = shape.begin()[i];
      this->stride[i] = stride.size() ? stride.begin()[i] : static_cast<std::int64_t>(step);
      step *= static_cast<std::uint64_t>(shape.begin()[i]);
      if (i < ndim - 1) {
        scale_stride[i] = static_cast<std::int64_t>(row);
        row *= static_cast<std::uint64_t>(shape.begin()[i]);
      }
    }
  }

  explicit Tensor(const tamis_tensor &view) : tamis_tensor(view) {}

  /// An int8 tensor with one scale per row, rows numbered row-major.
  Tensor with_scale(const float *scale) const {
    Tensor view(*this);
    view.scale = scale;
    return view;
  }

  /// Number of elements.
  std::int64_t size() const noexcept {
    std::int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }

 private:
  template <class T>
  static void *untyped(T *data) {
    return const_cast<std::remove_const_t<T> *>(data);
  }
};

// ------------------------------------------------------------------------------------------------ options

/// Fills an options struct with the defaults of its header.
inline void init(tamis_context_options &o) { tamis_context_options_init(&o); }
inline void init(tamis_attention_options &o) { tamis_attention_options_init(&o); }
inline void init(tamis_sparse_options &o) { tamis_sparse_options_init(&o); }
inline void init(tamis_zero_tuning_options &o) { tamis_zero_tuning_options_init(&o); }
inline void init(tamis_act_options &o) { tamis_act_options_init(&o); }
inline void init(tamis_kv_options &o) { tamis_kv_options_init(&o); }
inline void init(tamis_selector_options &o) { tamis_selector_options_init(&o); }
inline void init(tamis_encode_options &o) { tamis_encode_options_init(&o); }
inline void init(tamis_encoder_options &o) { tamis_encoder_options_init(&o); }
inline void init(tamis_compressor_options &o) { tamis_compressor_options_init(&o); }
inline void init(tamis_compress_options &o) { tamis_compress_options_init(&o); }
inline void init(tamis_boundary_options &o) { tamis_boundary_options_init(&o); }
inline void init(tamis_chunk_index_options &o) { tamis_chunk_index_options_init(&o); }
inline void init(tamis_bleu_options &o) { tamis_bleu_options_init(&o); }
inline void init(tamis_logit_options &o) { tamis_logit_options_init(&o); }
inline void init(tamis_word_options &o) { tamis_word_options_init(&o); }
inline void init(tamis_chrf_options &o) { tamis_chrf_options_init(&o); }
inline void init(tamis_token_report_options &o) { tamis_token_report_options_init(&o); }
inline void init(tamis_charbench_options &o) { tamis_charbench_options_init(&o); }
inline void init(tamis_needle_options &o) { tamis_needle_options_init(&o); }
inline void init(tamis_cdpo_weight_options &o) { tamis_cdpo_weight_options_init(&o); }
inline void init(tamis_treg_options &o) { tamis_treg_options_init(&o); }
inline void init(tamis_rmt_options &o) { tamis_rmt_options_init(&o); }
inline void init(tamis_caft_options &o) { tamis_caft_options_init(&o); }
inline void init(tamis_key_options &o) { tamis_key_options_init(&o); }
inline void init(tamis_retrieval_stats &s) { s = tamis_retrieval_stats TAMIS_RETRIEVAL_STATS_INIT; }

template <class Options>
Options defaults() {
  Options options;
  init(options);
  return options;
}

/// Told the share done, in [0, 1]; returns false to cancel. What it throws reaches the caller of the tamis function.
using Progress = std::function<bool(double)>;

namespace detail {

/// Carries a Progress through the C callback; exceptions wait until the C call has returned.
class ProgressCall {
 public:
  explicit ProgressCall(const Progress &progress) : progress_(progress) {}
  tamis_progress_fn function() const { return progress_ ? &ProgressCall::call : nullptr; }
  void check(tamis_status status) {
    if (thrown_) std::rethrow_exception(thrown_);
    tamis::check(status);
  }

 private:
  static std::int32_t call(double done, void *self) noexcept {
    auto *me = static_cast<ProgressCall *>(self);
    try {
      return me->progress_(done) ? 1 : 0;
    } catch (...) {
      me->thrown_ = std::current_exception();
      return 0;
    }
  }
  const Progress &progress_;
  std::exception_ptr thrown_;
};

/// The (buffer, capacity, needed) rule of the C API as a string.
template <class Call>
std::string string(Call call) {
  std::string text(255, '\0');
  std::size_t needed = 0;
  tamis_status status = call(&text[0], text.size() + 1, &needed);
  if (status == TAMIS_ERR_BUFFER_TOO_SMALL) {
    text.resize(needed);
    status = call(&text[0], text.size() + 1, &needed);
  }
  check(status);
  text.resize(needed);
  return text;
}

}  // namespace detail

// ------------------------------------------------------------------------------------------------ library

/// "0.1.0"
inline std::string version() { return tamis_version(); }

/// The JSON object of tamis_build_info.
inline std::string build_info() {
  return detail::string([](char *b, std::size_t c, std::size_t *n) { return tamis_build_info(b, c, n); });
}

// ------------------------------------------------------------------------------------------------ context

/// A device, its worker threads and its scratch memory. Caches and selectors keep what they need of it alive.
class Context {
 public:
  explicit Context(const tamis_context_options &options = defaults<tamis_context_options>()) {
    tamis_context *handle = nullptr;
    check(tamis_context_create(&options, &handle));
    handle_.reset(handle);
  }
  /// A CPU context with this many threads (0: all cores).
  static Context cpu(std::int32_t n_threads) {
    auto options = defaults<tamis_context_options>();
    options.n_threads = n_threads;
    return Context(options);
  }
  std::int32_t threads() const { return tamis_context_threads(get()); }
  std::string device_name() const {
    return detail::string([this](char *b, std::size_t c, std::size_t *n) { return tamis_context_device_name(get(), b, c, n); });
  }
  tamis_context *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_context *c) const noexcept { tamis_context_destroy(c); }
  };
  std::unique_ptr<tamis_context, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ cache

/// One sequence of a cache; its pages are freed with it. It keeps the cache alive.
class Sequence {
 public:
  Sequence() = default;
  Sequence(std::shared_ptr<tamis_kv_cache> cache, tamis_sequence id) : cache_(std::move(cache)), id_(id) {}
  Sequence(Sequence &&other) noexcept : cache_(std::move(other.cache_)), id_(std::exchange(other.id_, -1)) {}
  Sequence &operator=(Sequence &&other) noexcept {
    if (this != &other) {
      destroy();
      cache_ = std::move(other.cache_);
      id_ = std::exchange(other.id_, -1);
    }
    return *this;
  }
  ~Sequence() { destroy(); }

  /// k, v [kv_heads, n, head_dim]
  void append(std::int32_t layer, const Tensor &k, const Tensor &v) { check(tamis_kv_append(cache_.get(), id_, layer, &k, &v)); }
  std::int64_t length(std::int32_t layer = 0) const {
    std::int64_t n = 0;
    check(tamis_kv_length(cache_.get(), id_, layer, &n));
    return n;
  }
  void truncate(std::int64_t n_tokens) { check(tamis_kv_truncate(cache_.get(), id_, n_tokens)); }
  /// Keys and values as stored, from token `start` on: [kv_heads, n, head_dim].
  void read(std::int32_t layer, std::int64_t start, const Tensor &k, const Tensor &v) const {
    check(tamis_kv_read(cache_.get(), id_, layer, start, &k, &v));
  }
  /// Shares the first n_tokens (-1: all) with a new sequence.
  Sequence fork(std::int64_t n_tokens = -1) const {
    tamis_sequence id = -1;
    check(tamis_kv_sequence_fork(cache_.get(), id_, n_tokens, &id));
    return Sequence(cache_, id);
  }
  tamis_sequence id() const noexcept { return id_; }
  /// Gives up ownership: the pages stay until tamis_kv_sequence_destroy or the end of the cache.
  tamis_sequence release() noexcept {
    cache_.reset();
    return std::exchange(id_, -1);
  }

 private:
  void destroy() noexcept {
    if (cache_) (void)tamis_kv_sequence_destroy(cache_.get(), id_);
  }
  std::shared_ptr<tamis_kv_cache> cache_;
  tamis_sequence id_ = -1;
};

/// A paged KV cache.
class KVCache {
 public:
  KVCache(const Context &context, const tamis_kv_options &options) {
    tamis_kv_cache *handle = nullptr;
    check(tamis_kv_create(context.get(), &options, &handle));
    handle_ = std::shared_ptr<tamis_kv_cache>(handle, [](tamis_kv_cache *c) { tamis_kv_destroy(c); });
  }
  Sequence sequence() {
    tamis_sequence id = -1;
    check(tamis_kv_sequence_create(get(), &id));
    return Sequence(handle_, id);
  }
  /// As asked for and rounded.
  tamis_kv_options options() const {
    auto o = defaults<tamis_kv_options>();
    check(tamis_kv_get_options(get(), &o));
    return o;
  }
  tamis_kv_memory memory() const {
    tamis_kv_memory report{};
    report.struct_size = sizeof report;
    check(tamis_kv_memory_report(get(), &report));
    return report;
  }
  /// Writes these sequences (none: all) to a snapshot. level: zstd, 1 to 19; 0: 3.
  void save(const std::string &path, span<const tamis_sequence> sequences = {}, std::int32_t level = 0,
            const Progress &progress = {}) {
    detail::ProgressCall call(progress);
    call.check(tamis_kv_save(get(), sequences.empty() ? nullptr : sequences.data(), static_cast<std::int32_t>(sequences.size()),
                             path.c_str(), level, call.function(), &call));
  }
  /// Adds the sequences of a snapshot, in the order in which they were saved.
  std::vector<Sequence> restore(const std::string &path, const Progress &progress = {}) {
    std::int32_t n = snapshot_info(path).second;
    std::vector<tamis_sequence> ids(static_cast<std::size_t>(n));
    std::vector<Sequence> sequences;
    sequences.reserve(ids.size());
    detail::ProgressCall call(progress);
    call.check(tamis_kv_restore(get(), path.c_str(), ids.data(), n, &n, call.function(), &call));
    for (std::int32_t i = 0; i < n; ++i) sequences.emplace_back(handle_, ids[static_cast<std::size_t>(i)]);
    return sequences;
  }
  /// What a snapshot needs of the cache that restores it, and how many sequences it holds.
  static std::pair<tamis_kv_options, std::int32_t> snapshot_info(const std::string &path) {
    auto o = defaults<tamis_kv_options>();
    std::int32_t n = 0;
    check(tamis_kv_snapshot_info(path.c_str(), &o, &n));
    return {o, n};
  }
  tamis_kv_cache *get() const noexcept { return handle_.get(); }

 private:
  std::shared_ptr<tamis_kv_cache> handle_;
};

// ------------------------------------------------------------------------------------------------ retrieval

/// A method with its budget, bound to a cache.
class Selector {
 public:
  explicit Selector(const KVCache &cache, const tamis_selector_options &options = defaults<tamis_selector_options>()) {
    tamis_selector *handle = nullptr;
    check(tamis_selector_create(cache.get(), &options, &handle));
    handle_.reset(handle);
  }
  /// Attention of the last c tokens, q and out [q_heads, c, head_dim], over the tokens the method selects.
  void attend(const Sequence &s, std::int32_t layer, const Tensor &q, const Tensor &out, tamis_retrieval_stats *stats = nullptr) {
    check(tamis_attend(get(), s.id(), layer, &q, &out, nullptr, stats));
  }
  /// The same, with the log-sum-exp of each row, lse [q_heads, c].
  void attend(const Sequence &s, std::int32_t layer, const Tensor &q, const Tensor &out, const Tensor &lse,
              tamis_retrieval_stats *stats = nullptr) {
    check(tamis_attend(get(), s.id(), layer, &q, &out, &lse, stats));
  }
  /// The tokens `attend` would use for these queries, ascending. votes: empty, or room for one float per cached token.
  std::vector<std::int32_t> retrieve(const Sequence &s, std::int32_t layer, const Tensor &q, span<float> votes = {}) {
    std::int64_t n = s.length(layer);
    if (!votes.empty() && static_cast<std::int64_t>(votes.size()) < n)
      throw error(TAMIS_ERR_BUFFER_TOO_SMALL, "votes holds " + std::to_string(votes.size()) + " floats; expected " + std::to_string(n));
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(n));
    check(tamis_retrieve(get(), s.id(), layer, &q, tokens.data(), n, &n, votes.empty() ? nullptr : votes.data()));
    tokens.resize(static_cast<std::size_t>(n));
    return tokens;
  }
  /// Attention of the last c tokens over a list of tokens that the caller chose.
  void attend_tokens(const Sequence &s, std::int32_t layer, const Tensor &q, span<const std::int32_t> tokens, const Tensor &out,
                     tamis_retrieval_stats *stats = nullptr) {
    check(tamis_attend_tokens(get(), s.id(), layer, &q, tokens.data(), static_cast<std::int64_t>(tokens.size()), &out, nullptr, stats));
  }
  /// Forgets the cached selections of one sequence, or of all.
  void reset(const Sequence &s) { check(tamis_selector_reset(get(), s.id())); }
  void reset() { check(tamis_selector_reset(get(), -1)); }
  tamis_selector *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_selector *s) const noexcept { tamis_selector_destroy(s); }
  };
  std::unique_ptr<tamis_selector, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ DHSA

/// DHSA's network that marks where a chunk of keys ends. It keeps what it needs of the context alive.
class BoundaryPredictor {
 public:
  /// `path`: safetensors, a torch state dict, or a folder that holds boundary_predictor.safetensors. heads 0: as it says, else 8.
  BoundaryPredictor(const Context &context, const std::string &path, std::int32_t heads = 0,
                    tamis_precision precision = TAMIS_PRECISION_F32) {
    tamis_boundary_predictor *handle = nullptr;
    check(tamis_boundary_predictor_load(context.get(), path.c_str(), heads, precision, &handle));
    handle_.reset(handle);
  }
  /// kv_heads * head_dim of the keys it takes.
  std::int32_t width() const {
    std::int32_t width = 0;
    check(tamis_boundary_predictor_info(get(), &width, nullptr, nullptr));
    return width;
  }
  /// How strongly a chunk ends after each token of k [kv_heads, n, head_dim].
  std::vector<float> run(const Tensor &k, const Progress &progress = {}) {
    std::vector<float> logits(static_cast<std::size_t>(k.ndim == 3 ? k.shape[1] : 1));
    const Tensor out(logits.data(), {static_cast<std::int64_t>(logits.size())});
    detail::ProgressCall call(progress);
    call.check(tamis_boundary_predictor_run(get(), &k, &out, call.function(), &call));
    return logits;
  }
  tamis_boundary_predictor *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_boundary_predictor *p) const noexcept { tamis_boundary_predictor_destroy(p); }
  };
  std::unique_ptr<tamis_boundary_predictor, Destroy> handle_;
};

/// Boundaries of chunks from logits: ascending, the first 0, the last their number.
inline std::vector<std::int64_t> boundaries_from_logits(span<const float> logits, const tamis_boundary_options &options =
                                                                                      defaults<tamis_boundary_options>()) {
  std::vector<std::int64_t> boundaries(logits.size() + 1);
  std::int64_t count = 0;
  check(tamis_boundaries_from_logits(&options, logits.data(), static_cast<std::int64_t>(logits.size()), boundaries.data(),
                                     static_cast<std::int64_t>(boundaries.size()), &count));
  boundaries.resize(static_cast<std::size_t>(count));
  return boundaries;
}

/// Chunks of one layer's cached keys that grow with the sequence, for decode with a budget.
class ChunkIndex {
 public:
  explicit ChunkIndex(const Context &context, const tamis_chunk_index_options &options = defaults<tamis_chunk_index_options>()) {
    tamis_chunk_index *handle = nullptr;
    check(tamis_chunk_index_create(context.get(), &options, &handle));
    handle_.reset(handle);
  }
  /// Keys k [kv_heads, n, head_dim] that join the open chunk.
  void append(const Tensor &k) { check(tamis_chunk_index_append(get(), &k, nullptr, 0)); }
  /// A prompt's keys with their chunks.
  void append(const Tensor &k, span<const std::int64_t> boundaries) {
    check(tamis_chunk_index_append(get(), &k, boundaries.data(), static_cast<std::int64_t>(boundaries.size())));
  }
  void truncate(std::int64_t n_tokens) { check(tamis_chunk_index_truncate(get(), n_tokens)); }
  /// Tokens for the query q [q_heads, 1, head_dim], ascending, written to room for `budget` of them; budget -1: all, as many as
  /// there is room. Returns how many.
  std::size_t select(const Tensor &q, std::int64_t budget, span<std::int32_t> tokens) {
    std::int64_t n = 0;
    check(tamis_chunk_index_select(get(), &q, budget, tokens.data(), static_cast<std::int64_t>(tokens.size()), &n));
    return static_cast<std::size_t>(n);
  }
  tamis_chunk_index *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_chunk_index *i) const noexcept { tamis_chunk_index_destroy(i); }
  };
  std::unique_ptr<tamis_chunk_index, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ tile lists

/// A selection of key tiles. The lists it gives point into it.
class SparseMask {
 public:
  /// Takes over a mask that the C API made.
  explicit SparseMask(tamis_sparse_mask *handle) : handle_(handle) {}
  /// A copy of lists, for tensors of `batch` elements, q_len queries and k_len keys.
  SparseMask(const tamis_tiles &tiles, std::int64_t batch, std::int64_t q_len, std::int64_t k_len) {
    tamis_sparse_mask *handle = nullptr;
    check(tamis_sparse_mask_create(&tiles, batch, q_len, k_len, &handle));
    handle_.reset(handle);
  }
  tamis_tiles tiles() const {
    tamis_tiles tiles = TAMIS_TILES_INIT;
    check(tamis_sparse_mask_tiles(get(), &tiles));
    return tiles;
  }
  /// The chunk boundaries of a DHSA selection; empty for other methods.
  span<const std::int64_t> boundaries() const {
    const std::int64_t *first = nullptr;
    std::int64_t n = 0;
    check(tamis_sparse_mask_boundaries(get(), &first, &n));
    return {first, static_cast<std::size_t>(n)};
  }
  /// Counts for that many query heads.
  tamis_sparse_stats stats(std::int32_t q_heads,
                           const tamis_attention_options &attention = defaults<tamis_attention_options>()) const {
    tamis_sparse_stats stats = TAMIS_SPARSE_STATS_INIT;
    check(tamis_sparse_mask_stats(get(), &attention, q_heads, &stats));
    return stats;
  }
  tamis_sparse_mask *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_sparse_mask *m) const noexcept { tamis_sparse_mask_destroy(m); }
  };
  std::unique_ptr<tamis_sparse_mask, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ weights

/// A memory-mapped safetensors file. The tensors it gives live as long as it does.
class Weights {
 public:
  explicit Weights(const std::string &path) {
    tamis_weights *handle = nullptr;
    check(tamis_weights_open(path.c_str(), &handle));
    handle_.reset(handle);
  }
  std::int64_t count() const { return tamis_weights_count(get()); }
  /// Names in the order of their data.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (std::int64_t i = 0; i < count(); ++i)
      all.push_back(detail::string([&](char *b, std::size_t c, std::size_t *n) { return tamis_weights_name(get(), i, b, c, n); }));
    return all;
  }
  /// A read-only view.
  Tensor operator[](const std::string &name) const {
    tamis_tensor view;
    check(tamis_weights_get(get(), name.c_str(), &view));
    return Tensor(view);
  }
  tamis_weights *get() const noexcept { return handle_.get(); }

 private:
  struct Close {
    void operator()(tamis_weights *w) const noexcept { tamis_weights_close(w); }
  };
  std::unique_ptr<tamis_weights, Close> handle_;
};

// ------------------------------------------------------------------------------------------------ tokenizer

/// Token ids of one or more texts, with what is known of each. What it gives points into it.
class Encoding {
 public:
  explicit Encoding(tamis_encoding *handle) : handle_(handle) {}
  /// Number of texts.
  std::int64_t count() const noexcept { return tamis_encoding_count(get()); }
  /// Ids of text i, their byte offsets, words and segments.
  tamis_encoded operator[](std::int64_t i) const {
    tamis_encoded text = TAMIS_ENCODED_INIT;
    check(tamis_encoding_get(get(), i, &text));
    return text;
  }
  span<const std::int32_t> ids(std::int64_t i = 0) const {
    const tamis_encoded text = (*this)[i];
    return {text.ids, static_cast<std::size_t>(text.n)};
  }
  tamis_encoding *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_encoding *e) const noexcept { tamis_encoding_destroy(e); }
  };
  std::unique_ptr<tamis_encoding, Destroy> handle_;
};

/// Text to token ids and back. It never changes, so any number of threads may use one.
class Tokenizer {
 public:
  /// A tokenizer.json, .model, vocab.txt or .tiktoken file, or a folder that holds one.
  explicit Tokenizer(const std::string &path) {
    tamis_tokenizer *handle = nullptr;
    check(tamis_tokenizer_open(path.c_str(), &handle));
    handle_.reset(handle);
  }
  /// From memory; `pattern` for TAMIS_TOKENIZER_TIKTOKEN.
  static Tokenizer from_bytes(std::string_view bytes, tamis_tokenizer_format format = TAMIS_TOKENIZER_JSON,
                              const char *pattern = nullptr) {
    tamis_tokenizer *handle = nullptr;
    check(tamis_tokenizer_from_bytes(bytes.data(), bytes.size(), format, pattern, &handle));
    return Tokenizer(handle);
  }
  tamis_tokenizer_info info() const {
    tamis_tokenizer_info info = TAMIS_TOKENIZER_INFO_INIT;
    check(tamis_tokenizer_get_info(get(), &info));
    return info;
  }
  Encoding encode(std::string_view text, const tamis_encode_options &options = defaults<tamis_encode_options>()) const {
    return encode(text, nullptr, 0, options);
  }
  Encoding encode_pair(std::string_view text, std::string_view pair,
                       const tamis_encode_options &options = defaults<tamis_encode_options>()) const {
    return encode(text, pair.data() ? pair.data() : "", pair.size(), options);
  }
  /// Many texts on the context's threads.
  Encoding encode_batch(const Context &context, span<const std::string_view> texts,
                        const tamis_encode_options &options = defaults<tamis_encode_options>(),
                        const Progress &progress = {}) const {
    std::string bytes;
    std::vector<std::int64_t> offsets{0};
    for (const std::string_view text : texts) {
      bytes += text;
      offsets.push_back(static_cast<std::int64_t>(bytes.size()));
    }
    tamis_encoding *handle = nullptr;
    detail::ProgressCall call(progress);
    call.check(tamis_tokenizer_encode_batch(context.get(), get(), &options, bytes.data(), offsets.data(),
                                            static_cast<std::int64_t>(texts.size()), call.function(), &call, &handle));
    return Encoding(handle);
  }
  /// Number of tokens that `encode` would give.
  std::int64_t count(std::string_view text, const tamis_encode_options &options = defaults<tamis_encode_options>()) const {
    std::int64_t n = 0;
    check(tamis_tokenizer_count(get(), &options, text.data(), text.size(), &n));
    return n;
  }
  std::string decode(span<const std::int32_t> ids, bool skip_special = true) const {
    return detail::string([&](char *b, std::size_t c, std::size_t *n) {
      return tamis_tokenizer_decode(get(), ids.data(), static_cast<std::int64_t>(ids.size()), skip_special, b, c, n);
    });
  }
  /// The piece of an id as the vocabulary writes it.
  std::string piece(std::int32_t id) const {
    return detail::string([&](char *b, std::size_t c, std::size_t *n) { return tamis_tokenizer_piece(get(), id, b, c, n); });
  }
  /// The id of a piece; TAMIS_ERR_NOT_FOUND when there is none.
  std::int32_t id(std::string_view piece) const {
    std::int32_t id = -1;
    check(tamis_tokenizer_id(get(), piece.data(), piece.size(), &id));
    return id;
  }
  bool is_special(std::int32_t id) const noexcept { return tamis_tokenizer_is_special(get(), id) != 0; }
  tamis_tokenizer *get() const noexcept { return handle_.get(); }

 private:
  explicit Tokenizer(tamis_tokenizer *handle) : handle_(handle) {}
  Encoding encode(std::string_view text, const char *pair, std::size_t n_pair, const tamis_encode_options &options) const {
    tamis_encoding *handle = nullptr;
    check(tamis_tokenizer_encode(get(), &options, text.data(), text.size(), pair, n_pair, &handle));
    return Encoding(handle);
  }
  struct Destroy {
    void operator()(tamis_tokenizer *t) const noexcept { tamis_tokenizer_destroy(t); }
  };
  std::unique_ptr<tamis_tokenizer, Destroy> handle_;
};

/// Text as ids come, one at a time.
class Decoder {
 public:
  explicit Decoder(const Tokenizer &tokenizer, bool skip_special = true) {
    tamis_decoder *handle = nullptr;
    check(tamis_decoder_create(tokenizer.get(), skip_special, &handle));
    handle_.reset(handle);
  }
  /// The text that is certain now that this id has come.
  std::string push(std::int32_t id) {
    return detail::string([&](char *b, std::size_t c, std::size_t *n) { return tamis_decoder_push(get(), id, b, c, n); });
  }
  /// What was held back; the next id starts a new text.
  std::string finish() {
    return detail::string([&](char *b, std::size_t c, std::size_t *n) { return tamis_decoder_finish(get(), b, c, n); });
  }
  tamis_decoder *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_decoder *d) const noexcept { tamis_decoder_destroy(d); }
  };
  std::unique_ptr<tamis_decoder, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ encoder

/// Sequences of token ids one after another, without padding.
class TokenBatch {
 public:
  void append(span<const std::int32_t> sequence) {
    ids_.insert(ids_.end(), sequence.begin(), sequence.end());
    starts_.push_back(static_cast<std::int64_t>(ids_.size()));
  }
  std::int64_t sequences() const noexcept { return static_cast<std::int64_t>(starts_.size()) - 1; }
  std::int64_t tokens() const noexcept { return starts_.back(); }
  tamis_ragged view() const noexcept { return {ids_.data(), starts_.data(), sequences(), nullptr}; }

 private:
  std::vector<std::int32_t> ids_;
  std::vector<std::int64_t> starts_{0};
};

/// A BERT, RoBERTa or ELECTRA encoder of a folder as Hugging Face writes it. It keeps what it needs of the context alive.
class Encoder {
 public:
  /// `progress`, when given, takes the place of the options' own callback.
  Encoder(const Context &context, const std::string &path, tamis_encoder_options options = defaults<tamis_encoder_options>(),
          const Progress &progress = {}) {
    detail::ProgressCall call(progress);
    if (progress) {
      options.progress = call.function();
      options.progress_user = &call;
    }
    tamis_encoder *handle = nullptr;
    call.check(tamis_encoder_create(context.get(), path.c_str(), &options, &handle));
    handle_.reset(handle);
  }
  tamis_encoder_info info() const {
    tamis_encoder_info info = TAMIS_ENCODER_INFO_INIT;
    check(tamis_encoder_get_info(get(), &info));
    return info;
  }
  std::string label(std::int32_t i) const {
    return detail::string([&](char *b, std::size_t c, std::size_t *n) { return tamis_encoder_label(get(), i, b, c, n); });
  }
  /// The last hidden states, out [tokens, hidden] f32.
  void states(const TokenBatch &batch, const Tensor &out, const Progress &progress = {}) {
    const tamis_ragged tokens = batch.view();
    detail::ProgressCall call(progress);
    call.check(tamis_encoder_states(get(), &tokens, &out, call.function(), &call));
  }
  /// The token classification head, out [tokens, labels] f32.
  void classify(const TokenBatch &batch, const Tensor &out, tamis_class_form form = TAMIS_CLASS_LOGITS,
                const Progress &progress = {}) {
    const tamis_ragged tokens = batch.view();
    detail::ProgressCall call(progress);
    call.check(tamis_encoder_classify(get(), &tokens, form, &out, call.function(), &call));
  }
  /// One vector per sequence, out [sequences, hidden] f32. normalise: 1, 0, or -1 as the model's files say.
  void embed(const TokenBatch &batch, const Tensor &out, tamis_pooling pooling = TAMIS_POOLING_STORED,
             std::int32_t normalise = -1, const Progress &progress = {}) {
    const tamis_ragged tokens = batch.view();
    detail::ProgressCall call(progress);
    call.check(tamis_encoder_embed(get(), &tokens, pooling, normalise, &out, call.function(), &call));
  }
  tamis_encoder *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_encoder *e) const noexcept { tamis_encoder_destroy(e); }
  };
  std::unique_ptr<tamis_encoder, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ compression

/// What came of compressing texts. What it gives points into it.
class Compression {
 public:
  explicit Compression(tamis_compression *handle) : handle_(handle) {}
  tamis_compression_report report() const {
    tamis_compression_report report = TAMIS_COMPRESSION_REPORT_INIT;
    check(tamis_compression_get_report(get(), &report));
    return report;
  }
  tamis_context_report context(std::int64_t i = 0) const {
    tamis_context_report report = TAMIS_CONTEXT_REPORT_INIT;
    check(tamis_compression_get_context(get(), i, &report));
    return report;
  }
  /// Of text i; -1: all kept texts, an empty line between them.
  std::string_view text(std::int64_t i = -1) const { return view(tamis_compression_text, i); }
  /// The runs of text i that were kept.
  span<const tamis_span> spans(std::int64_t i = 0) const { return list<tamis_span>(tamis_compression_spans, i); }
  span<const tamis_word> words(std::int64_t i = 0) const { return list<tamis_word>(tamis_compression_words, i); }
  /// TAMIS_COMPRESS_COMPAT: the text that the words of text i point into.
  std::string_view word_text(std::int64_t i = 0) const { return view(tamis_compression_word_text, i); }
  tamis_compression *get() const noexcept { return handle_.get(); }

 private:
  template <class Call>
  std::string_view view(Call call, std::int64_t i) const {
    const char *text = nullptr;
    std::size_t length = 0;
    check(call(get(), i, &text, &length));
    return {text, length};
  }
  template <class T, class Call>
  span<const T> list(Call call, std::int64_t i) const {
    const T *first = nullptr;
    std::int64_t n = 0;
    check(call(get(), i, &first, &n));
    return {first, static_cast<std::size_t>(n)};
  }
  struct Destroy {
    void operator()(tamis_compression *c) const noexcept { tamis_compression_destroy(c); }
  };
  std::unique_ptr<tamis_compression, Destroy> handle_;
};

/// Shorter prompts: an encoder, its tokenizer and a tokenizer to count with. It keeps them alive; any number of threads may use
/// one.
class Compressor {
 public:
  /// The compressor that comes with the library.
  explicit Compressor(const Context &context) : Compressor(context, default_path()) {}
  /// From a folder. counting: "" or the path of a tokenizer to count tokens with.
  Compressor(const Context &context, const std::string &path, const std::string &counting = {},
             tamis_precision precision = TAMIS_PRECISION_STORED,
             const tamis_compressor_options &options = defaults<tamis_compressor_options>()) {
    tamis_compressor *handle = nullptr;
    check(tamis_compressor_open(context.get(), path.c_str(), counting.empty() ? nullptr : counting.c_str(), precision, &options,
                                &handle));
    handle_.reset(handle);
  }
  /// From parts that are loaded. counting: nullptr, or what tokens are counted with.
  Compressor(const Context &context, const Encoder &encoder, const Tokenizer &tokenizer, const Tokenizer *counting = nullptr,
             const tamis_compressor_options &options = defaults<tamis_compressor_options>()) {
    tamis_compressor *handle = nullptr;
    check(tamis_compressor_create(context.get(), encoder.get(), tokenizer.get(), counting ? counting->get() : nullptr, &options,
                                  &handle));
    handle_.reset(handle);
  }
  /// Where the compressor that comes with the library lies.
  static std::string default_path() { return detail::string(tamis_compressor_default_path); }

  /// Tokens of a text as they are counted here.
  std::int64_t count(std::string_view text) const {
    std::int64_t n = 0;
    check(tamis_compressor_count(get(), text.data(), text.size(), &n));
    return n;
  }
  /// The texts of a prompt. `progress`, when given, takes the place of the options' own callback.
  Compression compress(span<const std::string_view> texts, tamis_compress_options options = defaults<tamis_compress_options>(),
                       const Progress &progress = {}) {
    std::vector<const char *> starts;
    std::vector<std::size_t> lengths;
    for (const std::string_view text : texts) {
      starts.push_back(text.data());
      lengths.push_back(text.size());
    }
    detail::ProgressCall call(progress);
    if (progress) {
      options.progress = call.function();
      options.progress_user = &call;
    }
    tamis_compression *handle = nullptr;
    const auto n = static_cast<std::int64_t>(starts.size());
    call.check(tamis_compress(get(), starts.data(), lengths.data(), n, &options, &handle));
    return Compression(handle);
  }
  Compression compress(std::string_view text, tamis_compress_options options = defaults<tamis_compress_options>(),
                       const Progress &progress = {}) {
    return compress(span<const std::string_view>(&text, 1), options, progress);
  }
  tamis_compressor *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_compressor *c) const noexcept { tamis_compressor_destroy(c); }
  };
  std::unique_ptr<tamis_compressor, Destroy> handle_;
};

// ------------------------------------------------------------------------------------------------ operations

/// Exact attention, q and out [.., q_heads, q_len, head_dim], k and v [.., kv_heads, k_len, head_dim], lse or nullptr.
/// `progress`, when given, takes the place of the options' own callback.
inline void attention(const Context &context, const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &out,
                      const Tensor *lse = nullptr, tamis_attention_options options = defaults<tamis_attention_options>(),
                      const Progress &progress = {}) {
  detail::ProgressCall call(progress);
  if (progress) {
    options.progress = call.function();
    options.progress_user = &call;
  }
  call.check(tamis_attention(context.get(), &options, &q, &k, &v, &out, lse));
}

/// ln gamma: the key0_bias of ZeroTuning.
inline std::vector<float> zero_tuning_bias(span<const float> gamma) {
  std::vector<float> bias(gamma.size());
  check(tamis_zero_tuning_bias(gamma.data(), static_cast<std::int64_t>(gamma.size()), bias.data()));
  return bias;
}

struct ZeroTuning {
  /// [layers][heads]
  std::vector<float> gammas;
  /// Score at the probe minus the baseline, one per unit.
  std::vector<double> unit_effects;
  tamis_zero_tuning_result result;
};

/// Higher is better; gammas [layers][heads]. What it throws ends the search and reaches the caller.
using ZeroTuningScore = std::function<double(span<const float> gammas)>;

/// Classifies heads and searches gamma.
inline ZeroTuning zero_tuning_search(const tamis_zero_tuning_options &options, const ZeroTuningScore &score) {
  if (options.layers < 1 || options.heads < 1 || std::int64_t(options.layers) * options.heads > std::int64_t(1) << 24)
    throw error(TAMIS_ERR_INVALID_ARGUMENT,
                "options.layers, options.heads are " + std::to_string(options.layers) + ", " + std::to_string(options.heads) +
                    "; expected each at least 1, at most 2^24 heads in all");
  struct Call {
    const ZeroTuningScore &score;
    std::exception_ptr thrown;
    static std::int32_t run(const float *gamma, std::int32_t layers, std::int32_t heads, double *to, void *self) noexcept {
      auto *me = static_cast<Call *>(self);
      try {
        *to = me->score({gamma, static_cast<std::size_t>(layers) * static_cast<std::size_t>(heads)});
        return 1;
      } catch (...) {
        me->thrown = std::current_exception();
        return 0;
      }
    }
  } call{score, nullptr};
  const auto layers = static_cast<std::size_t>(options.layers), heads = static_cast<std::size_t>(options.heads);
  const std::size_t units = options.unit == TAMIS_ZERO_TUNING_HEADS    ? heads
                            : options.unit == TAMIS_ZERO_TUNING_LAYERS ? layers
                                                                       : layers * heads;
  ZeroTuning found{std::vector<float>(layers * heads), std::vector<double>(units), TAMIS_ZERO_TUNING_RESULT_INIT};
  const tamis_status status = tamis_zero_tuning_search(&options, score ? &Call::run : nullptr, &call, found.gammas.data(),
                                                       found.unit_effects.data(), &found.result);
  if (call.thrown) std::rethrow_exception(call.thrown);
  check(status);
  return found;
}

/// Column sums and row counts of one layer's heads, carried from one act_attention to the next.
class ActState {
 public:
  ActState(const Context &context, std::int32_t q_heads) {
    tamis_act_state *handle = nullptr;
    check(tamis_act_state_create(context.get(), q_heads, &handle));
    handle_.reset(handle);
  }
  /// Forgets everything: a new sequence.
  void reset() { check(tamis_act_state_reset(get())); }
  /// The sinks of a head after the last call, ascending.
  std::vector<std::int32_t> sinks(std::int32_t head) const {
    std::vector<std::int32_t> tokens(16);
    std::int64_t n = 0;
    tamis_status status = tamis_act_sinks(get(), head, tokens.data(), static_cast<std::int64_t>(tokens.size()), &n);
    if (status == TAMIS_ERR_BUFFER_TOO_SMALL) {
      tokens.resize(static_cast<std::size_t>(n));
      status = tamis_act_sinks(get(), head, tokens.data(), n, &n);
    }
    check(status);
    tokens.resize(static_cast<std::size_t>(n));
    return tokens;
  }
  tamis_act_state *get() const noexcept { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(tamis_act_state *s) const noexcept { tamis_act_state_destroy(s); }
  };
  std::unique_ptr<tamis_act_state, Destroy> handle_;
};

/// Causal attention with calibrated heads (ACT), q and out [q_heads, q_len, head_dim]; state and lse may be nullptr.
inline void act_attention(const Context &context, const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &out,
                          const tamis_act_options &act = defaults<tamis_act_options>(), ActState *state = nullptr,
                          const Tensor *lse = nullptr, tamis_attention_options options = defaults<tamis_attention_options>(),
                          const Progress &progress = {}) {
  detail::ProgressCall call(progress);
  if (progress) {
    options.progress = call.function();
    options.progress_user = &call;
  }
  call.check(tamis_act_attention(context.get(), &options, &act, state ? state->get() : nullptr, &q, &k, &v, &out, lse));
}

/// The same over lists of key tiles; `tiles` may be nullptr, which is dense. pv_threshold: 0, or what probabilities are skipped
/// below (tamis/sparse_attention.h).
inline void sparse_attention(const Context &context, const tamis_tiles *tiles, const Tensor &q, const Tensor &k,
                             const Tensor &v, const Tensor &out, const Tensor *lse = nullptr, float pv_threshold = 0,
                             tamis_attention_options options = defaults<tamis_attention_options>(),
                             const Progress &progress = {}) {
  detail::ProgressCall call(progress);
  if (progress) {
    options.progress = call.function();
    options.progress_user = &call;
  }
  call.check(tamis_sparse_attention(context.get(), &options, tiles, pv_threshold, &q, &k, &v, &out, lse));
}

/// The tiles that a method chooses for a prompt (tamis/sparse_prefill.h).
inline SparseMask sparse_select(const Context &context, const tamis_sparse_options &options, const Tensor &q, const Tensor &k,
                                const tamis_attention_options &attention = defaults<tamis_attention_options>()) {
  tamis_sparse_mask *mask = nullptr;
  check(tamis_sparse_select(context.get(), &options, &attention, &q, &k, &mask));
  return SparseMask(mask);
}

/// `sparse_select` and attention over what it chose; dense below options.dense_below keys. `stats` is added to.
inline void sparse_prefill(const Context &context, const tamis_sparse_options &options, const Tensor &q, const Tensor &k,
                           const Tensor &v, const Tensor &out, const Tensor *lse = nullptr,
                           const tamis_attention_options &attention = defaults<tamis_attention_options>(),
                           tamis_sparse_stats *stats = nullptr) {
  check(tamis_sparse_prefill(context.get(), &options, &attention, &q, &k, &v, &out, lse, nullptr, stats));
}

/// Attention over the union of disjoint key sets from the parts' outputs and log-sum-exps.
inline void merge(const Context &context, span<const tamis_tensor> parts, span<const tamis_tensor> part_lse, const Tensor &out,
                  const Tensor &lse) {
  if (parts.size() != part_lse.size())
    throw error(TAMIS_ERR_INVALID_ARGUMENT, "part_lse holds " + std::to_string(part_lse.size()) + " tensors; expected " + std::to_string(parts.size()));
  check(tamis_attention_merge(context.get(), static_cast<std::int32_t>(parts.size()), parts.data(), part_lse.data(), &out, &lse));
}

/// Copies and converts the dtype.
inline void convert(const Context &context, const Tensor &from, const Tensor &to) { check(tamis_convert(context.get(), &from, &to)); }

/// Rotates x [.., n, head_dim] at positions first, first + 1, ..
inline void rope_apply(const Context &context, const tamis_rope &rope, const Tensor &x, std::int64_t first, const Tensor &out) {
  check(tamis_rope_apply(context.get(), &rope, &x, nullptr, first, &out));
}

/// The k largest scores, as ascending indices.
inline std::vector<std::int32_t> top_k(const Context &context, span<const float> scores, std::int64_t k) {
  const auto n = static_cast<std::int64_t>(scores.size());
  std::vector<std::int32_t> indices(static_cast<std::size_t>(k < 0 ? 0 : k < n ? k : n));
  std::int64_t count = 0;
  check(tamis_top_k(context.get(), scores.data(), n, k, indices.data(), &count));
  indices.resize(static_cast<std::size_t>(count));
  return indices;
}

// ------------------------------------------------------------------------------------------------ metrics

/// Sequences of token ids that live elsewhere, one after another: starts has one offset more than there are sequences.
inline tamis_token_lists token_lists(span<const std::int32_t> ids, span<const std::int64_t> starts) {
  tamis_token_lists lists{};
  lists.ids = ids.data();
  lists.starts = starts.data();
  lists.count = static_cast<std::int64_t>(starts.size()) - 1;
  return lists;
}

/// The words of texts as a scorer cuts them, numbered alike for equal words.
class WordIDs {
 public:
  explicit WordIDs(span<const std::string_view> texts, const tamis_word_options &options = defaults<tamis_word_options>()) {
    std::string all;
    std::vector<std::int64_t> starts{0};
    for (const std::string_view text : texts) {
      all.append(text);
      starts.push_back(static_cast<std::int64_t>(all.size()));
    }
    tamis_word_ids *handle = nullptr;
    check(tamis_word_ids_create(&options, all.data(), starts.data(), static_cast<std::int64_t>(texts.size()), &handle));
    handle_.reset(handle);
    check(tamis_word_ids_get(handle, &lists_, &vocabulary_));
  }
  /// The sequences of `count` texts from `first` on; valid as long as this object.
  tamis_token_lists lists(std::int64_t first, std::int64_t count) const {
    if (first < 0 || count < 0 || first > lists_.count - count)
      throw error(TAMIS_ERR_INVALID_ARGUMENT, "first is " + std::to_string(first) + " with count " + std::to_string(count) +
                                                  "; expected texts of the " + std::to_string(lists_.count));
    tamis_token_lists part = lists_;
    part.starts += first;
    part.count = count;
    return part;
  }
  tamis_token_lists lists() const noexcept { return lists_; }
  std::int64_t vocabulary() const noexcept { return vocabulary_; }

 private:
  struct Destroy {
    void operator()(tamis_word_ids *w) const noexcept { tamis_word_ids_destroy(w); }
  };
  std::unique_ptr<tamis_word_ids, Destroy> handle_;
  tamis_token_lists lists_{};
  std::int64_t vocabulary_ = 0;
};

/// BLEU of each hypothesis (candidates of them share a segment's references; references->count / segments each), one list of weights.
inline std::vector<double> bleu(const Context &context, const tamis_token_lists &hypotheses, const tamis_token_lists &references,
                                const tamis_bleu_options &options = defaults<tamis_bleu_options>(), std::int64_t candidates = 1) {
  std::vector<double> scores(static_cast<std::size_t>(hypotheses.count < 0 ? 0 : hypotheses.count) *
                             static_cast<std::size_t>(options.weight_lists > 1 ? options.weight_lists : 1));
  check(tamis_bleu(context.get(), &options, &hypotheses, &references, nullptr, candidates, scores.data(), nullptr));
  return scores;
}

/// BLEU of all hypotheses as one corpus, one list of weights.
inline double corpus_bleu(const Context &context, const tamis_token_lists &hypotheses, const tamis_token_lists &references,
                          const tamis_bleu_options &options = defaults<tamis_bleu_options>()) {
  std::vector<double> corpus(static_cast<std::size_t>(options.weight_lists > 1 ? options.weight_lists : 1));
  check(tamis_bleu(context.get(), &options, &hypotheses, &references, nullptr, 1, nullptr, corpus.data()));
  return corpus.front();
}

// ------------------------------------------------------------------------------------------------ tokenisation, tasks

namespace detail {

/// Texts in one run of bytes, with the offsets that tell them apart.
struct JoinedTexts {
  std::string bytes;
  std::vector<std::int64_t> starts{0};
  explicit JoinedTexts(span<const std::string_view> texts) {
    for (const std::string_view text : texts) {
      bytes.append(text);
      starts.push_back(static_cast<std::int64_t>(bytes.size()));
    }
  }
  std::int64_t count() const noexcept { return static_cast<std::int64_t>(starts.size()) - 1; }
};

}  // namespace detail

/// Counts of tokens over any number of texts: fertility, compression, parity, entropies.
class TokenStatistics {
 public:
  explicit TokenStatistics(std::int32_t unknown_id = -1) {
    tamis_token_statistics *handle = nullptr;
    check(tamis_token_statistics_create(unknown_id, &handle));
    handle_.reset(handle);
  }
  tamis_token_statistics *get() const noexcept { return handle_.get(); }

  /// Texts with their tokens; token_starts and token_ends as tamis_token_statistics_add takes them, both empty when unknown.
  void add(const tamis_token_lists &tokens, span<const std::string_view> texts, span<const std::int32_t> token_starts = {},
           span<const std::int32_t> token_ends = {}) {
    const detail::JoinedTexts joined(texts);
    if (joined.count() != tokens.count)
      throw error(TAMIS_ERR_INVALID_ARGUMENT, "texts has " + std::to_string(joined.count()) + " texts; expected " +
                                                  std::to_string(tokens.count) + ", one a sequence of tokens");
    const std::size_t room = tokens.count <= 0 ? 0
                             : tokens.starts   ? static_cast<std::size_t>(tokens.starts[tokens.count])
                                               : static_cast<std::size_t>(tokens.count * tokens.width);
    if (token_starts.size() != token_ends.size() || (!token_starts.empty() && token_starts.size() < room))
      throw error(TAMIS_ERR_INVALID_ARGUMENT, "token_starts has " + std::to_string(token_starts.size()) + " and token_ends " +
                                                  std::to_string(token_ends.size()) + " offsets; expected " +
                                                  std::to_string(room));
    check(tamis_token_statistics_add(get(), &tokens, joined.bytes.data(), joined.starts.data(), token_starts.data(),
                                     token_ends.data(), nullptr, nullptr));
  }
  /// What a tokenizer makes of texts, without its template.
  void encode(const Context &context, const Tokenizer &tokenizer, span<const std::string_view> texts) {
    const detail::JoinedTexts joined(texts);
    check(tamis_token_statistics_encode(get(), context.get(), tokenizer.get(), nullptr, joined.bytes.data(),
                                        joined.starts.data(), joined.count(), nullptr, nullptr));
  }
  void merge(const TokenStatistics &other) { check(tamis_token_statistics_merge(get(), other.get())); }

  tamis_token_sums sums() const {
    tamis_token_sums sums TAMIS_TOKEN_SUMS_INIT;
    check(tamis_token_statistics_sums(get(), &sums));
    return sums;
  }
  tamis_token_report report(const tamis_token_report_options &options = defaults<tamis_token_report_options>()) const {
    tamis_token_report report TAMIS_TOKEN_REPORT_INIT;
    check(tamis_token_statistics_report(get(), &options, &report));
    return report;
  }
  /// Tokens here over tokens there: of all texts, and the mean of the texts' own ratios.
  std::pair<double, double> premium(const TokenStatistics &pivot) const {
    std::pair<double, double> found;
    check(tamis_token_premium(get(), pivot.get(), &found.first, &found.second));
    return found;
  }

 private:
  struct Destroy {
    void operator()(tamis_token_statistics *s) const noexcept { tamis_token_statistics_destroy(s); }
  };
  std::unique_ptr<tamis_token_statistics, Destroy> handle_;
};

/// Questions about the characters of words (CharBench).
class CharBench {
 public:
  explicit CharBench(span<const std::string_view> texts,
                     const tamis_charbench_options &options = defaults<tamis_charbench_options>()) {
    const detail::JoinedTexts joined(texts);
    tamis_charbench *handle = nullptr;
    check(tamis_charbench_create(&options, joined.bytes.data(), joined.starts.data(), joined.count(), &handle));
    handle_.reset(handle);
  }
  tamis_charbench *get() const noexcept { return handle_.get(); }
  std::int64_t count() const noexcept { return tamis_charbench_count(get()); }
  /// The word belongs to this object.
  tamis_charbench_row row(std::int64_t i) const {
    tamis_charbench_row row TAMIS_CHARBENCH_ROW_INIT;
    check(tamis_charbench_get(get(), i, &row));
    return row;
  }
  tamis_charbench_features features(std::int64_t i, span<const std::int32_t> token_lengths) const {
    tamis_charbench_features features TAMIS_CHARBENCH_FEATURES_INIT;
    check(tamis_charbench_features_of(get(), i, token_lengths.data(), static_cast<std::int64_t>(token_lengths.size()),
                                      &features));
    return features;
  }

 private:
  struct Destroy {
    void operator()(tamis_charbench *b) const noexcept { tamis_charbench_destroy(b); }
  };
  std::unique_ptr<tamis_charbench, Destroy> handle_;
};

/// A haystack of UUID pairs, its question and its answers (Needle Threading).
class NeedleTask {
 public:
  explicit NeedleTask(const tamis_needle_options &options = defaults<tamis_needle_options>()) {
    tamis_needle_task *handle = nullptr;
    check(tamis_needle_task_create(&options, &handle));
    handle_.reset(handle);
    check(tamis_needle_task_get(handle, &view_));
  }
  tamis_needle_task *get() const noexcept { return handle_.get(); }
  /// Texts and positions, which belong to this object.
  const tamis_needle_view &view() const noexcept { return view_; }
  std::string_view haystack() const noexcept { return {view_.haystack, static_cast<std::size_t>(view_.haystack_bytes)}; }

  /// The prompt; prompt_template nullptr: the library's own wording.
  std::string prompt(const char *prompt_template = nullptr) const {
    std::size_t needed = 0;
    const tamis_status sized = tamis_needle_task_prompt(get(), prompt_template, nullptr, 0, &needed);
    if (sized != TAMIS_ERR_BUFFER_TOO_SMALL) check(sized);
    std::string text(needed + 1, '\0');
    check(tamis_needle_task_prompt(get(), prompt_template, &text[0], text.size(), &needed));
    text.resize(needed);
    return text;
  }
  tamis_needle_score score(std::string_view reply) const {
    tamis_needle_score score TAMIS_NEEDLE_SCORE_INIT;
    check(tamis_needle_task_score(get(), reply.data(), reply.size(), &score));
    return score;
  }

 private:
  struct Destroy {
    void operator()(tamis_needle_task *t) const noexcept { tamis_needle_task_destroy(t); }
  };
  std::unique_ptr<tamis_needle_task, Destroy> handle_;
  tamis_needle_view view_ TAMIS_NEEDLE_VIEW_INIT;
};

/// Where accuracy first falls below the threshold, in the unit of `lengths`.
inline double effective_context_length(span<const double> lengths, span<const double> accuracies, double threshold = 0.75) {
  if (lengths.size() != accuracies.size())
    throw error(TAMIS_ERR_INVALID_ARGUMENT, "accuracies has " + std::to_string(accuracies.size()) + " numbers; expected " +
                                                std::to_string(lengths.size()) + ", one a length");
  double length = 0;
  check(tamis_effective_context_length(lengths.data(), accuracies.data(), static_cast<std::int64_t>(lengths.size()), threshold,
                                       &length));
  return length;
}

// ------------------------------------------------------------------------------------------------ training signals

/// The labels of one sample that ssToken keeps: those of the share `ratio` of response tokens with the largest scores.
/// attention may be empty when gamma is 1.
inline std::vector<std::int64_t> sstoken(span<const double> current, span<const double> history, span<const double> attention,
                                         span<const std::int64_t> labels, double gamma = 0.5, double ratio = 0.6) {
  const std::size_t n = labels.size();
  if (current.size() != n || history.size() != n || (!attention.empty() && attention.size() != n))
    throw error(TAMIS_ERR_INVALID_ARGUMENT, "current, history or attention does not have the " + std::to_string(n) +
                                                " elements of labels");
  std::vector<double> scores(n);
  std::vector<std::int64_t> selected(n);
  const auto tokens = static_cast<std::int64_t>(n);
  check(tamis_sstoken_scores(current.data(), history.data(), attention.empty() ? nullptr : attention.data(), labels.data(), 1,
                             tokens, gamma, nullptr, scores.data()));
  check(tamis_select_tokens(scores.data(), labels.data(), 1, tokens, ratio, TAMIS_ROUND_UP, TAMIS_TOKENS_OF_SAMPLE,
                            selected.data(), nullptr));
  return selected;
}

/// cDPO's token weights from contrastive scores.
inline std::vector<double> cdpo_weights(span<const double> scores,
                                        const tamis_cdpo_weight_options &options = defaults<tamis_cdpo_weight_options>()) {
  std::vector<double> weights(scores.size() + (options.append_eos == 1) + (options.leading_zero == 1));
  check(tamis_cdpo_weights(&options, scores.data(), static_cast<std::int64_t>(scores.size()), weights.data()));
  return weights;
}

/// Flags of the function tokens of a vocabulary.
inline std::vector<std::uint8_t> function_tokens(span<const std::uint64_t> counts, double share = 0.4) {
  std::vector<std::uint8_t> flags(counts.size());
  check(tamis_function_tokens(counts.data(), static_cast<std::int64_t>(counts.size()), share, flags.data(), nullptr));
  return flags;
}

/// What the ranks behind the best are made of: logits [vocabulary], clusters of the LM head's rows, and, or nullptr, the
/// LM head.
inline tamis_key_report key_diagnostic(const Context &context, const Tensor &logits, span<const std::int32_t> clusters,
                                       const Tensor *keys = nullptr,
                                       const tamis_key_options &options = defaults<tamis_key_options>()) {
  if (static_cast<std::int64_t>(clusters.size()) != logits.shape[0])
    throw error(TAMIS_ERR_INVALID_ARGUMENT, "clusters holds " + std::to_string(clusters.size()) + " numbers; expected " +
                                                std::to_string(logits.shape[0]) + ", as logits");
  tamis_key_report report = TAMIS_KEY_REPORT_INIT;
  check(tamis_key_diagnostic(context.get(), &options, &logits, clusters.data(), keys, nullptr, nullptr, &report));
  return report;
}

// ------------------------------------------------------------------------------------------------ logits

/// Running sums over tokens, and the calibration bins they fill; pass it with every part of a text.
class LogitSummary : public tamis_logit_summary {
 public:
  explicit LogitSummary(std::int32_t wanted = TAMIS_LOGIT_SUM_NLL, std::int32_t bins_wanted = 0)
      : tamis_logit_summary(TAMIS_LOGIT_SUMMARY_INIT),
        triples_(bins_wanted > 0 ? 3 * (static_cast<std::size_t>(bins_wanted) + 1) : 0) {
    sums = wanted;
    n_bins = bins_wanted;
    bins = triples_.empty() ? nullptr : triples_.data();
  }
  LogitSummary(const LogitSummary &) = delete;
  LogitSummary &operator=(const LogitSummary &) = delete;

  double perplexity() const { return tamis_perplexity(nll, static_cast<double>(tokens)); }
  double bits_per_byte(double bytes) const { return tamis_bits_per_unit(nll, bytes); }
  double calibration_error(tamis_calibration_norm norm = TAMIS_CALIBRATION_L1) const {
    double error = 0;
    check(tamis_calibration_error(bins, n_bins, norm, &error));
    return error;
  }

 private:
  std::vector<double> triples_;
};

/// Statistics of rows of logits to the arrays of `outputs`, and their sums to `summary`; either may be nullptr.
inline void logit_metrics(const Context &context, const Tensor &logits, const std::int32_t *targets, tamis_logit_outputs *outputs,
                          LogitSummary *summary = nullptr,
                          const tamis_logit_options &options = defaults<tamis_logit_options>()) {
  check(tamis_logit_metrics(context.get(), &options, &logits, targets, outputs, summary));
}

/// KL of each row of p from that of q, in nats.
inline std::vector<float> kl_divergence(const Context &context, const Tensor &p, const Tensor &q,
                                        const tamis_logit_options &options = defaults<tamis_logit_options>()) {
  std::size_t rows = 1;
  for (int i = 0; i + 1 < p.ndim; ++i) rows *= static_cast<std::size_t>(p.shape[i] < 0 ? 0 : p.shape[i]);
  std::vector<float> kl(rows);
  tamis_divergence_outputs outputs = TAMIS_DIVERGENCE_OUTPUTS_INIT;
  outputs.kl = kl.data();
  check(tamis_logit_divergence(context.get(), &options, &p, &q, &outputs));
  return kl;
}

}  // namespace tamis

#endif  // TAMIS_HPP
