// The options and reports of kv_cache.h to and from Swift.
import CTamis
import Tamis

extension KVCacheOptions {
  init(_ raw: tamis_kv_options) throws(TamisError) {
    let headDim = try count(raw.head_dim, "options->head_dim", from: 1)
    try require(
      headDim % 8 == 0 && headDim <= 256, "options->head_dim is \(headDim); expected a multiple of 8 from 8 to 256")
    let pageTokens = try count(raw.page_tokens, "options->page_tokens", from: 1)
    try require(
      pageTokens % 16 == 0 && pageTokens <= 4096,
      "options->page_tokens is \(pageTokens); expected a multiple of 16 from 16 to 4096")
    let dtype = try choice(raw.dtype, "options->dtype", DType.self, "TAMIS_F32, TAMIS_F16, TAMIS_BF16 or TAMIS_I8")
    try require(dtype != .i32, "options->dtype is i32; expected f32, f16, bf16 or i8")
    self.init(
      layers: try count(raw.layers, "options->layers", from: 1), kvHeads: try count(raw.kv_heads, "options->kv_heads", from: 1),
      headDim: headDim, dtype: dtype, pageTokens: pageTokens,
      maxTokens: try count(raw.max_tokens, "options->max_tokens", from: 1),
      rope: try ropeRule(raw.rope, "options->rope.", headDim: headDim), scoringCopy: try scoringDType(raw.scoring_copy))
    try requireMemoryFits(self)
  }
}

private func scoringDType(_ raw: tamis_dtype) throws(TamisError) -> DType? {
  switch raw {
  case -1: return nil
  case TAMIS_BF16: return .bf16
  case TAMIS_I8: return .i8
  default: throw .invalid("options->scoring_copy is \(raw); expected -1 (none), TAMIS_BF16 or TAMIS_I8")
  }
}

/// Bytes of the whole capacity, in steps that cannot overflow, stay inside the address space.
private func requireMemoryFits(_ options: KVCacheOptions) throws(TamisError) {
  // Each row costs at most 4 bytes an element for K and V, 2 for the scoring copy, and three f32 scales.
  var bytes = options.headDim * 10 + 12
  for (factor, name) in [(options.kvHeads, "kv_heads"), (options.layers, "layers"), (options.maxTokens, "max_tokens")] {
    let (product, overflow) = bytes.multipliedReportingOverflow(by: factor)
    guard !overflow && product <= 1 << 47 else {
      throw TamisError(
        .outOfMemory,
        "options->\(name) is \(factor), which makes a cache beyond the address space; expected less than 2^47 bytes in all")
    }
    bytes = product
  }
}

extension tamis_kv_options {
  init(_ options: KVCacheOptions) {
    self = .defaults
    layers = Int32(clamping: options.layers)
    kv_heads = Int32(clamping: options.kvHeads)
    head_dim = Int32(clamping: options.headDim)
    dtype = options.dtype.rawValue
    page_tokens = Int32(clamping: options.pageTokens)
    max_tokens = Int64(options.maxTokens)
    scoring_copy = options.scoringCopy?.rawValue ?? -1
    if !options.rope.isNone {
      rope = tamis_rope(
        style: options.rope.style.rawValue, rotary_dims: Int32(clamping: options.rope.rotaryDims), base: options.rope.base,
        scale: options.rope.scale)
    }
  }
}

extension tamis_kv_memory {
  init(_ memory: KVMemory) {
    self.init()
    sequences = Int32(clamping: memory.sequences)
    pages_total = Int64(memory.pagesTotal)
    pages_used = Int64(memory.pagesUsed)
    pages_shared = Int64(memory.pagesShared)
    page_bytes = Int64(memory.pageBytes)
    bytes_used = Int64(memory.bytesUsed)
    bytes_scoring_copy = Int64(memory.bytesScoringCopy)
    tokens = Int64(memory.tokens)
  }
}
