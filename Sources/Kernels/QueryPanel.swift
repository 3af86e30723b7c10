import CShims

/// qT[dim][lane] = rows[lane][dim] * factor
@inline(never) func packQueriesF32(
  _ rows: UnsafePointer<UnsafePointer<Float>?>, _ d: Int, _ factor: Float, _ qT: UnsafeMutablePointer<Float>
) {
  var lane = 0
  while lane < 32 {
    packLanes(UnsafeRawPointer(rows[lane]), UnsafeRawPointer(rows[lane &+ 1]), UnsafeRawPointer(rows[lane &+ 2]),
              UnsafeRawPointer(rows[lane &+ 3]), words: d, UnsafeMutableRawPointer(qT + lane))
    lane &+= 4
  }
  if factor != 1 {
    var i = 0
    while i < d &* 32 {
      qT[i] *= factor
      i &+= 1
    }
  }
}

/// qT[dim / 2][lane][dim % 2] = rows[lane][dim]
@inline(never) func packQueriesBF16(
  _ rows: UnsafePointer<UnsafePointer<UInt16>?>, _ d: Int, _ qT: UnsafeMutablePointer<UInt16>
) {
  var lane = 0
  while lane < 32 {
    packLanes(UnsafeRawPointer(rows[lane]), UnsafeRawPointer(rows[lane &+ 1]), UnsafeRawPointer(rows[lane &+ 2]),
              UnsafeRawPointer(rows[lane &+ 3]), words: d &>> 1, UnsafeMutableRawPointer(qT + 2 &* lane))
    lane &+= 4
  }
}

/// Four rows of 32-bit words become four lanes, by transposes of 4 x 4. A store of a single word per lane would cost more than
/// a short context's attention.
@inline(__always) private func packLanes(
  _ a: UnsafeRawPointer?, _ b: UnsafeRawPointer?, _ c: UnsafeRawPointer?, _ d: UnsafeRawPointer?, words: Int,
  _ to: UnsafeMutableRawPointer
) {
  var at = 0
  while at < words &* 4 {
    let wide = at &+ 16 <= words &* 4
    let t = transpose4(loadWords(a, at, wide), loadWords(b, at, wide), loadWords(c, at, wide), loadWords(d, at, wide))
    let row = to + at &* 32
    row.storeBytes(of: t.0, as: SIMD4<UInt32>.self)
    if wide {
      row.storeBytes(of: t.1, toByteOffset: panelBytes, as: SIMD4<UInt32>.self)
      row.storeBytes(of: t.2, toByteOffset: 2 &* panelBytes, as: SIMD4<UInt32>.self)
      row.storeBytes(of: t.3, toByteOffset: 3 &* panelBytes, as: SIMD4<UInt32>.self)
      at &+= 16
    } else {
      at &+= 4
    }
  }
}

/// Four words of a row, or the first of them where no more may be left; zeros for an unused lane.
@inline(__always) private func loadWords(_ row: UnsafeRawPointer?, _ at: Int, _ wide: Bool) -> SIMD4<UInt32> {
  guard let row else { return .zero }
  if wide { return row.loadUnaligned(fromByteOffset: at, as: SIMD4<UInt32>.self) }
  return SIMD4(row.loadUnaligned(fromByteOffset: at, as: UInt32.self), 0, 0, 0)
}

@inline(__always) private func transpose4(
  _ a: SIMD4<UInt32>, _ b: SIMD4<UInt32>, _ c: SIMD4<UInt32>, _ d: SIMD4<UInt32>
) -> (SIMD4<UInt32>, SIMD4<UInt32>, SIMD4<UInt32>, SIMD4<UInt32>) {
  let ab0 = SIMD4(a.x, b.x, a.y, b.y), ab2 = SIMD4(a.z, b.z, a.w, b.w)
  let cd0 = SIMD4(c.x, d.x, c.y, d.y), cd2 = SIMD4(c.z, d.z, c.w, d.w)
  return (SIMD4(lowHalf: ab0.lowHalf, highHalf: cd0.lowHalf), SIMD4(lowHalf: ab0.highHalf, highHalf: cd0.highHalf),
          SIMD4(lowHalf: ab2.lowHalf, highHalf: cd2.lowHalf), SIMD4(lowHalf: ab2.highHalf, highHalf: cd2.highHalf))
}

/// O = O^T / l and the log-sum-exp (arXiv 2307.08691, algorithm 1 lines 12 and 13).
@inline(never) func finishPanel(
  _ oT: UnsafeMutablePointer<Float>, _ dv: Int, _ m: UnsafePointer<Float>, _ l: UnsafePointer<Float>,
  _ rows: UnsafePointer<UnsafeMutablePointer<Float>?>, _ lse: UnsafeMutablePointer<Float>
) {
  var lane = 0
  while lane < 32 {
    var inverse = SIMD4<Float>.zero
    inverse.x = reciprocalOrZero(l[lane])
    inverse.y = reciprocalOrZero(l[lane &+ 1])
    inverse.z = reciprocalOrZero(l[lane &+ 2])
    inverse.w = reciprocalOrZero(l[lane &+ 3])
    let o = UnsafeRawPointer(oT + lane)
    var dim = 0
    while dim &+ 4 <= dv {
      let at = dim &* panelBytes
      let t = transpose4(
        scaled(o, at, inverse), scaled(o, at &+ panelBytes, inverse), scaled(o, at &+ 2 &* panelBytes, inverse),
        scaled(o, at &+ 3 &* panelBytes, inverse))
      storeWords(t.0, rows[lane], dim)
      storeWords(t.1, rows[lane &+ 1], dim)
      storeWords(t.2, rows[lane &+ 2], dim)
      storeWords(t.3, rows[lane &+ 3], dim)
      dim &+= 4
    }
    while dim < dv {
      let x = oT + (dim &* 32 &+ lane)
      if let row = rows[lane] { row[dim] = x[0] * inverse.x }
      if let row = rows[lane &+ 1] { row[dim] = x[1] * inverse.y }
      if let row = rows[lane &+ 2] { row[dim] = x[2] * inverse.z }
      if let row = rows[lane &+ 3] { row[dim] = x[3] * inverse.w }
      dim &+= 1
    }
    lane &+= 4
  }
  lane = 0
  while lane < 32 {
    lse[lane] = l[lane] == 0 ? -.infinity : (m[lane] + log2(l[lane])) * 0.69314718
    lane &+= 1
  }
}

@inline(__always) private func reciprocalOrZero(_ l: Float) -> Float { l == 0 ? 0 : 1 / l }

@inline(__always) private func scaled(_ o: UnsafeRawPointer, _ at: Int, _ inverse: SIMD4<Float>) -> SIMD4<UInt32> {
  unsafeBitCast(o.loadUnaligned(fromByteOffset: at, as: SIMD4<Float>.self) * inverse, to: SIMD4<UInt32>.self)
}

@inline(__always) private func storeWords(_ v: SIMD4<UInt32>, _ row: UnsafeMutablePointer<Float>?, _ dim: Int) {
  if let row { UnsafeMutableRawPointer(row + dim).storeBytes(of: v, as: SIMD4<UInt32>.self) }
}

/// log2 of a positive finite number, within 1e-7 of the result plus one unit in the last place; NaN and infinity stay.
@inline(__always) private func log2(_ x: Float) -> Float {
  if !(x < .infinity) { return x }
  // x = 2^e * (1 + r) with 1 + r in [sqrt(1/2), sqrt 2); log(1 + r) = 2 atanh(r / (2 + r)).
  let bits = x.bitPattern &- 0x3F35_04F3
  let e = Float(Int32(bitPattern: bits) &>> 23)
  let r = Float(bitPattern: (bits & 0x007F_FFFF) &+ 0x3F35_04F3) - 1
  let z = r / (2 + r)
  let w = z * z
  let series = ((0.2222222222 * w + 0.2857142857) * w + 0.4) * w + 0.6666666667
  return e + (2 * z + z * w * series) * 1.44269504
}
