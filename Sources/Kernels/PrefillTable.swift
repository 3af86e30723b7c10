import CShims

/// The prefill part of the table; see `fillTable` on why the closures only call.
@inline(__always) func fillPrefill(_ table: UnsafeMutablePointer<tk_prefill>) {
  table.pointee.scores_f32 = { scoresF32($0, $1, $2, $3, $4, $5) }
  table.pointee.softmax_f32 = { onlineSoftmax($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10) }
  table.pointee.scale_panel = { scalePanel($0, $1, $2) }
  table.pointee.accumulate_f32 = { accumulateF32($0, $1, $2, $3, $4, $5) }
  table.pointee.interleave_bf16 = { interleaveBF16($0, $1, $2, $3, $4) }
  table.pointee.pack_queries_f32 = { packQueriesF32($0, $1, $2, $3) }
  table.pointee.pack_queries_bf16 = { packQueriesBF16($0, $1, $2) }
  table.pointee.finish_panel = { finishPanel($0, $1, $2, $3, $4, $5) }
  table.pointee.column_sums = { columnSums($0, $1, $2, $3, $4, $5, $6, $7, $8, $9) }
  #if ISA_V4X
  table.pointee.scores_bf16 = { scoresBF16($0, $1, $2, $3, $4, $5) }
  table.pointee.softmax_bf16 = { onlineSoftmaxBF16($0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) }
  table.pointee.accumulate_bf16 = { accumulateBF16($0, $1, $2, $3, $4) }
  #else
  table.pointee.scores_bf16 = nil
  table.pointee.softmax_bf16 = nil
  table.pointee.accumulate_bf16 = nil
  #endif
}
