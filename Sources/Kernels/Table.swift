// Fills the level's table. The only place where the level's name reaches a symbol.
import CShims

#if ISA_V2
@c(tk_fill_v2) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V3
@c(tk_fill_v3) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V4
@c(tk_fill_v4) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#elseif ISA_V4X
@c(tk_fill_v4x) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#else
@c(tk_fill_neon) public func fill(_ table: UnsafeMutablePointer<tk_table>) { fillTable(table) }
#endif

// The closures only call. A C function pointer's closure is a thunk to the compiler, which marks every call left in a thunk as
// not to be inlined: with the loop in the closure each intrinsic wrapper of tamis_simd.h would be a real call. So every kernel
// is an @inline(never) function of its own.
@inline(__always) func fillTable(_ table: UnsafeMutablePointer<tk_table>) {
  table.pointee.f16_to_f32 = { from, to, n in f16ToF32(from, to, n) }
  table.pointee.f32_to_f16 = { from, to, n in f32ToF16(from, to, n) }
  table.pointee.bf16_to_f32 = { from, to, n in bf16ToF32(from, to, n) }
  table.pointee.f32_to_bf16 = { from, to, n in f32ToBF16(from, to, n) }
  table.pointee.i8_to_f32 = { from, scale, to, n in i8ToF32(from, scale, to, n) }
  table.pointee.f32_to_i8 = { from, to, n in f32ToI8(from, to, n) }
  fillRows(table)
  fillSoftmax(table)
  fillScores(table)
  fillPrefill(&table.pointee.prefill)
  fillLinear(&table.pointee.linear)
  fillBoundaries(&table.pointee.boundaries)
  fillLogits(&table.pointee.logits)
}

@inline(__always) func fillRows(_ table: UnsafeMutablePointer<tk_table>) {
  table.pointee.prepare_queries = { q in prepareQueries(q) }
  table.pointee.dot_f32 = { r, n, q, z, zs in dotF32(r, n, q, z, zs) }
  table.pointee.dot_f16 = { r, n, q, z, zs in dotF16(r, n, q, z, zs) }
  #if ISA_V4X
  table.pointee.dot_bf16 = { r, n, q, z, zs in dotBF16Pairs(r, n, q, z, zs) }
  table.pointee.dot_i8 = { r, n, q, z, zs in dotI8Panels(r, n, q, z, zs) }
  #else
  table.pointee.dot_bf16 = { r, n, q, z, zs in dotBF16(r, n, q, z, zs) }
  table.pointee.dot_i8 = { r, n, q, z, zs in dotI8(r, n, q, z, zs) }
  #endif
  table.pointee.accumulate_f32 = { r, n, p, ps, g, d, o in accumulateF32(r, n, p, ps, Int(g), Int(d), o) }
  table.pointee.accumulate_f16 = { r, n, p, ps, g, d, o in accumulateF16(r, n, p, ps, Int(g), Int(d), o) }
  #if ISA_V4X
  table.pointee.accumulate_bf16 = { r, n, p, ps, g, d, o in accumulateBF16Pairs(r, n, p, ps, Int(g), Int(d), o) }
  table.pointee.accumulate_i8 = { r, n, p, ps, g, d, o in accumulateI8Quads(r, n, p, ps, Int(g), Int(d), o) }
  table.pointee.reorder_i8 = { o, count, d in reorderI8(o, Int(count), Int(d)) }
  #else
  table.pointee.accumulate_bf16 = { r, n, p, ps, g, d, o in accumulateBF16(r, n, p, ps, Int(g), Int(d), o) }
  table.pointee.accumulate_i8 = { r, n, p, ps, g, d, o in accumulateI8(r, n, p, ps, Int(g), Int(d), o) }
  table.pointee.reorder_i8 = { _, _, _ in }
  #endif
  table.pointee.gather_f32 = { r, n, d, to in gatherF32(r, n, Int(d), to) }
  table.pointee.gather_f16 = { r, n, d, to in gatherF16(r, n, Int(d), to) }
  table.pointee.gather_bf16 = { r, n, d, to in gatherBF16(r, n, Int(d), to) }
  table.pointee.gather_i8 = { r, n, d, to in gatherI8(r, n, Int(d), to) }
  table.pointee.turn_f32 = { r, n, d, half, c, s, stride, to in turnF32(r, n, Int(d), Int(half), c, s, stride, to) }
  table.pointee.turn_f16 = { r, n, d, half, c, s, stride, to in turnF16(r, n, Int(d), Int(half), c, s, stride, to) }
  table.pointee.turn_bf16 = { r, n, d, half, c, s, stride, to in turnBF16(r, n, Int(d), Int(half), c, s, stride, to) }
  table.pointee.turn_i8 = { r, n, d, half, c, s, stride, to in turnI8(r, n, Int(d), Int(half), c, s, stride, to) }
  table.pointee.rotate_half = { x, n, d, half, c, s, stride in rotateHalf(x, n, Int(d), Int(half), c, s, stride) }
  table.pointee.rotate_interleaved = { x, n, d, half, c, s, stride in rotateInterleaved(x, n, Int(d), Int(half), c, s, stride) }
  table.pointee.angles = { p, f, half, c, s in angles(p, f, half, c, s) }
}

@inline(__always) func fillSoftmax(_ table: UnsafeMutablePointer<tk_table>) {
  table.pointee.scale_cap = { z, n, scale, cap in scaleCap(z, n, scale, cap) }
  table.pointee.softmax_block = { z, n, a, m, l in softmaxBlock(z, n, a, m, l) }
  table.pointee.scale_by = { x, n, a in scaleBy(x, n, a) }
  table.pointee.add_scaled = { y, x, n, a in addScaled(y, x, n, a) }
}

@inline(__always) func fillScores(_ table: UnsafeMutablePointer<tk_table>) {
  table.pointee.vote_exp = { z, n, m, ahead in voteExp(z, n, m, ahead) }
  table.pointee.clean_logits = { z, n in cleanLogits(z, n) }
  table.pointee.vote_sum = { e, stride, c, heads, n, vote in voteSum(e, stride, c, Int(heads), n, vote) }
  table.pointee.max_pool = { x, n, width, out in maxPool(x, n, width, out) }
  table.pointee.key_histogram = { x, n, prefixShift, prefix, shift, bins, histogram in
    keyHistogram(x, n, UInt32(bitPattern: prefixShift), prefix, UInt32(bitPattern: shift), bins, histogram)
  }
  table.pointee.emit_top = { x, n, threshold, ties, base, to in emitTop(x, n, threshold, ties, base, to) }
  table.pointee.count_top = { x, n, threshold, ties, count in countTop(x, n, threshold, ties, count) }
  table.pointee.pack_tile_i8 = { row, d, tile, token in packTileI8(row, d, tile, token) }
  table.pointee.pack_tile_bf16 = { row, d, tile, token in packTileBF16(row, d, tile, token) }
  table.pointee.score_i8 = { tiles, scale, n, q, z, zs in scoreI8(tiles, scale.unsafelyUnwrapped, n, q, z, zs) }
  table.pointee.score_bf16 = { tiles, _, n, q, z, zs in scoreBF16(tiles, n, q, z, zs) }
}
