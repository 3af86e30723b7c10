/// S^T = K . Q^T, a tile of keys against one query panel (FlashAttention-2, arXiv 2307.08691, algorithm 1 line 8, transposed).
///
/// Transposed because K rows then feed the broadcast operand as they lie in the cache: nothing is packed.
@inline(never) func scoresF32(
  _ k: UnsafePointer<Float>, _ ldk: Int, _ nkeys: Int, _ qT: UnsafePointer<Float>, _ d: Int, _ sT: UnsafeMutablePointer<Float>
) {
  panelProduct(UnsafeRawPointer(k), aRow: ldk &* 4, aStep: 4, rows: nkeys, UnsafeRawPointer(qT), steps: d,
               UnsafeMutableRawPointer(sT), adding: false)
}

/// O^T += V^T . P^T (arXiv 2307.08691, algorithm 1 line 10, transposed).
@inline(never) func accumulateF32(
  _ v: UnsafePointer<Float>, _ ldv: Int, _ nkeys: Int, _ pT: UnsafePointer<Float>, _ dv: Int, _ oT: UnsafeMutablePointer<Float>
) {
  panelProduct(UnsafeRawPointer(v), aRow: 4, aStep: ldv &* 4, rows: dv, UnsafeRawPointer(pT), steps: nkeys,
               UnsafeMutableRawPointer(oT), adding: true)
}

@inline(__always) private func panelProduct(
  _ a: UnsafeRawPointer, aRow: Int, aStep: Int, rows: Int, _ b: UnsafeRawPointer, steps: Int,
  _ c: UnsafeMutableRawPointer, adding: Bool
) {
  var row = 0
  while row &+ tileRows <= rows {
    var lane = 0
    while lane < panelBytes {
      tileF32(a + row &* aRow, aRow: aRow, aStep: aStep, b + lane, steps: steps, c + (row &* panelBytes &+ lane),
              rows: tileRows, adding: adding)
      lane &+= tileLanes &* 4
    }
    row &+= tileRows
  }
  if row < rows {
    var lane = 0
    while lane < panelBytes {
      tileF32(a + row &* aRow, aRow: aRow, aStep: aStep, b + lane, steps: steps, c + (row &* panelBytes &+ lane),
              rows: rows &- row, adding: adding)
      lane &+= tileLanes &* 4
    }
  }
}

#if ISA_V4X
@inline(never) func scoresBF16(
  _ k: UnsafePointer<UInt16>, _ ldk: Int, _ nkeys: Int, _ qT: UnsafePointer<UInt16>, _ d: Int, _ sT: UnsafeMutablePointer<Float>
) {
  pairProduct(UnsafeRawPointer(k), aRow: ldk &* 2, aStep: 4, rows: nkeys, UnsafeRawPointer(qT), steps: d &>> 1,
              UnsafeMutableRawPointer(sT), adding: false)
}

@inline(never) func accumulateBF16(
  _ vpairs: UnsafePointer<UInt16>, _ nkeys: Int, _ pT: UnsafePointer<UInt16>, _ dv: Int, _ oT: UnsafeMutablePointer<Float>
) {
  pairProduct(UnsafeRawPointer(vpairs), aRow: 4, aStep: dv &* 4, rows: dv, UnsafeRawPointer(pT), steps: (nkeys &+ 1) &>> 1,
              UnsafeMutableRawPointer(oT), adding: true)
}

@inline(__always) private func pairProduct(
  _ a: UnsafeRawPointer, aRow: Int, aStep: Int, rows: Int, _ b: UnsafeRawPointer, steps: Int,
  _ c: UnsafeMutableRawPointer, adding: Bool
) {
  var row = 0
  while row &+ tileRows <= rows {
    tileBF16(a + row &* aRow, aRow: aRow, aStep: aStep, b, steps: steps, c + row &* panelBytes, rows: tileRows, adding: adding)
    row &+= tileRows
  }
  if row < rows {
    tileBF16(a + row &* aRow, aRow: aRow, aStep: aStep, b, steps: steps, c + row &* panelBytes, rows: rows &- row,
             adding: adding)
  }
}
#endif

/// oT[dim][lane] *= rescale[lane]
@inline(never) func scalePanel(_ oT: UnsafeMutablePointer<Float>, _ dv: Int, _ rescale: UnsafePointer<Float>) {
  let o = UnsafeMutableRawPointer(oT)
  let r0 = loadF32(rescale, 0), r1 = loadF32(rescale, 64)
  var at = 0
  while at < dv &* panelBytes {
    storeF32(loadF32(o, at) * r0, o, at)
    storeF32(loadF32(o, at &+ 64) * r1, o, at &+ 64)
    at &+= panelBytes
  }
}
