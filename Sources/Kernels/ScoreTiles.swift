// Scores from the scoring copy of the keys: tiles of 16 tokens with the tokens in the lanes, so that a lane's sum is a token's
// logit and nothing is added across lanes.
import CShims

@inline(never) func packTileI8(_ row: UnsafePointer<Int8>, _ d: Int, _ tile: UnsafeMutableRawPointer, _ token: Int) {
  var i = 0
  while i < d {
    let word = UnsafeRawPointer(row + i).loadUnaligned(as: UInt32.self) ^ 0x8080_8080
    tile.storeBytes(of: word, toByteOffset: i &* 16 &+ token &* 4, as: UInt32.self)
    i &+= 4
  }
}

@inline(never) func packTileBF16(_ row: UnsafePointer<UInt16>, _ d: Int, _ tile: UnsafeMutableRawPointer, _ token: Int) {
  var i = 0
  while i < d {
    let word = UnsafeRawPointer(row + i).loadUnaligned(as: UInt32.self)
    tile.storeBytes(of: word, toByteOffset: i &* 32 &+ token &* 4, as: UInt32.self)
    i &+= 2
  }
}

#if ISA_V4X
@inline(never) func scoreI8(
  _ tiles: UnsafeRawPointer, _ scale: UnsafePointer<Float>, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int
) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = UnsafeRawPointer(w.i8_high.unsafelyUnwrapped)
  let count = Int(w.count)
  var tile = 0
  while tile < n {
    let t0 = tiles + tile &* 16 &* d
    var g = 0
    while g < count {
      let last = count &- 1
      let q0 = q + g &* d
      let q1 = q + (g &+ 1 < last ? g &+ 1 : last) &* d
      let q2 = q + (g &+ 2 < last ? g &+ 2 : last) &* d
      let q3 = q + (g &+ 3 < last ? g &+ 3 : last) &* d
      // Even and odd words apart: a chain of its own for each. One tile after the other, so that memory is read in order.
      var a0 = ts_splat_word(0)
      var a1 = a0, a2 = a0, a3 = a0
      var b0 = a0, b1 = a0, b2 = a0, b3 = a0
      var i = 0
      while i < d {
        let x = ts_load64(t0 + i &* 16)
        let y = ts_load64(t0 + (i &* 16 &+ 64))
        ts_prefetch(t0 + (i &* 16 &+ 8192))
        ts_prefetch(t0 + (i &* 16 &+ 8256))
        a0 = ts_dot_u8(a0, x, ts_splat_word((q0 + i).loadUnaligned(as: Int32.self)))
        b0 = ts_dot_u8(b0, y, ts_splat_word((q0 + (i &+ 4)).loadUnaligned(as: Int32.self)))
        a1 = ts_dot_u8(a1, x, ts_splat_word((q1 + i).loadUnaligned(as: Int32.self)))
        b1 = ts_dot_u8(b1, y, ts_splat_word((q1 + (i &+ 4)).loadUnaligned(as: Int32.self)))
        a2 = ts_dot_u8(a2, x, ts_splat_word((q2 + i).loadUnaligned(as: Int32.self)))
        b2 = ts_dot_u8(b2, y, ts_splat_word((q2 + (i &+ 4)).loadUnaligned(as: Int32.self)))
        a3 = ts_dot_u8(a3, x, ts_splat_word((q3 + i).loadUnaligned(as: Int32.self)))
        b3 = ts_dot_u8(b3, y, ts_splat_word((q3 + (i &+ 4)).loadUnaligned(as: Int32.self)))
        i &+= 8
      }
      let home = z + (g &* zs &+ tile &* 16)
      let s = ts_load_f32(scale + tile &* 16)
      scoreStore(home, a0 &+ b0, s, w, g)
      if g &+ 1 < count { scoreStore(home + zs, a1 &+ b1, s, w, g &+ 1) }
      if g &+ 2 < count { scoreStore(home + 2 &* zs, a2 &+ b2, s, w, g &+ 2) }
      if g &+ 3 < count { scoreStore(home + 3 &* zs, a3 &+ b3, s, w, g &+ 3) }
      g &+= 4
    }
    tile &+= 1
  }
}

/// Keys are stored as k + 128, so 128 sum(q) is taken off again.
@inline(__always) func scoreStore(_ home: Floats, _ a: W, _ s: F, _ w: tk_queries, _ g: Int) {
  let offset = ts_splat_word(w.i8_high_sum.unsafelyUnwrapped[g] &* 128)
  ts_store_f32(home, ts_to_f32(a &- offset) * (s * ts_splat(w.i8_scale.unsafelyUnwrapped[g])))
}

@inline(never) func scoreBF16(_ tiles: UnsafeRawPointer, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = UnsafeRawPointer(w.bf16.unsafelyUnwrapped)
  let count = Int(w.count)
  var tile = 0
  while tile < n {
    let t0 = tiles + tile &* 32 &* d
    var g = 0
    while g < count {
      let last = count &- 1
      let q0 = q + g &* d &* 2
      let q1 = q + (g &+ 1 < last ? g &+ 1 : last) &* d &* 2
      let q2 = q + (g &+ 2 < last ? g &+ 2 : last) &* d &* 2
      let q3 = q + (g &+ 3 < last ? g &+ 3 : last) &* d &* 2
      // Even and odd pairs apart: a chain of its own for each.
      var a0 = ts_splat(0)
      var a1 = a0, a2 = a0, a3 = a0
      var b0 = a0, b1 = a0, b2 = a0, b3 = a0
      var i = 0
      while i < d {
        let x = ts_load64(t0 + i &* 32)
        let y = ts_load64(t0 + (i &* 32 &+ 64))
        ts_prefetch(t0 + (i &* 32 &+ 4096))
        ts_prefetch(t0 + (i &* 32 &+ 4160))
        a0 = ts_dot_bf16(a0, x, ts_splat_word((q0 + i &* 2).loadUnaligned(as: Int32.self)))
        b0 = ts_dot_bf16(b0, y, ts_splat_word((q0 + (i &* 2 &+ 4)).loadUnaligned(as: Int32.self)))
        a1 = ts_dot_bf16(a1, x, ts_splat_word((q1 + i &* 2).loadUnaligned(as: Int32.self)))
        b1 = ts_dot_bf16(b1, y, ts_splat_word((q1 + (i &* 2 &+ 4)).loadUnaligned(as: Int32.self)))
        a2 = ts_dot_bf16(a2, x, ts_splat_word((q2 + i &* 2).loadUnaligned(as: Int32.self)))
        b2 = ts_dot_bf16(b2, y, ts_splat_word((q2 + (i &* 2 &+ 4)).loadUnaligned(as: Int32.self)))
        a3 = ts_dot_bf16(a3, x, ts_splat_word((q3 + i &* 2).loadUnaligned(as: Int32.self)))
        b3 = ts_dot_bf16(b3, y, ts_splat_word((q3 + (i &* 2 &+ 4)).loadUnaligned(as: Int32.self)))
        i &+= 4
      }
      let home = z + (g &* zs &+ tile &* 16)
      ts_store_f32(home, a0 + b0)
      if g &+ 1 < count { ts_store_f32(home + zs, a1 + b1) }
      if g &+ 2 < count { ts_store_f32(home + 2 &* zs, a2 + b2) }
      if g &+ 3 < count { ts_store_f32(home + 3 &* zs, a3 + b3) }
      g &+= 4
    }
    tile &+= 1
  }
}
#elseif ISA_V3 || ISA_V4
// Half a tile, eight tokens, at a time; a tile is small enough to stay in the first-level cache for both its halves.

@inline(never) func scoreI8(
  _ tiles: UnsafeRawPointer, _ scale: UnsafePointer<Float>, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int
) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = UnsafeRawPointer(w.i8_high.unsafelyUnwrapped)
  let count = Int(w.count)
  var half = 0
  while half < 2 &* n {
    let k = tiles + ((half &>> 1) &* 16 &* d &+ (half & 1) &* 32)
    let s = ts_load_f8(scale + half &* 8)
    var g = 0
    while g < count {
      let last = count &- 1
      let q0 = q + g &* d
      let q1 = q + (g &+ 1 < last ? g &+ 1 : last) &* d
      let q2 = q + (g &+ 2 < last ? g &+ 2 : last) &* d
      let q3 = q + (g &+ 3 < last ? g &+ 3 : last) &* d
      var a0 = ts_splat32(q0) &- ts_splat32(q0)
      var a1 = a0, a2 = a0, a3 = a0
      var i = 0
      while i < d {
        let x = ts_signed_bytes(ts_load32(k + i &* 16))
        let size = ts_byte_sizes(x)
        ts_prefetch(k + (i &* 16 &+ 8192))
        a0 = ts_dot_bytes(a0, size, x, ts_splat32(q0 + i))
        a1 = ts_dot_bytes(a1, size, x, ts_splat32(q1 + i))
        a2 = ts_dot_bytes(a2, size, x, ts_splat32(q2 + i))
        a3 = ts_dot_bytes(a3, size, x, ts_splat32(q3 + i))
        i &+= 4
      }
      let home = z + (g &* zs &+ half &* 8)
      let qs = w.i8_scale.unsafelyUnwrapped + g
      ts_store_f8(home, ts_words_to_f32(a0) * (s * ts_splat_f8(qs[0])))
      if g &+ 1 < count { ts_store_f8(home + zs, ts_words_to_f32(a1) * (s * ts_splat_f8(qs[1]))) }
      if g &+ 2 < count { ts_store_f8(home + 2 &* zs, ts_words_to_f32(a2) * (s * ts_splat_f8(qs[2]))) }
      if g &+ 3 < count { ts_store_f8(home + 3 &* zs, ts_words_to_f32(a3) * (s * ts_splat_f8(qs[3]))) }
      g &+= 4
    }
    half &+= 1
  }
}

@inline(never) func scoreBF16(_ tiles: UnsafeRawPointer, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let w = queries.pointee
  let d = Int(w.dim)
  let q = w.f32.unsafelyUnwrapped
  let count = Int(w.count)
  var half = 0
  while half < 2 &* n {
    let k = tiles + ((half &>> 1) &* 32 &* d &+ (half & 1) &* 32)
    var g = 0
    while g < count {
      let last = count &- 1
      let q0 = q + g &* d
      let q1 = q + (g &+ 1 < last ? g &+ 1 : last) &* d
      let q2 = q + (g &+ 2 < last ? g &+ 2 : last) &* d
      let q3 = q + (g &+ 3 < last ? g &+ 3 : last) &* d
      // Even and odd dimensions apart: a chain of its own for each.
      var a0 = ts_splat_f8(0)
      var a1 = a0, a2 = a0, a3 = a0
      var b0 = a0, b1 = a0, b2 = a0, b3 = a0
      var i = 0
      while i < d {
        let pair = ts_load32(k + i &* 32)
        let x = ts_low_bf16x8(pair)
        let y = ts_high_bf16x8(pair)
        ts_prefetch(k + (i &* 32 &+ 4096))
        a0 = ts_fma8(a0, x, ts_splat_f8(q0[i]))
        b0 = ts_fma8(b0, y, ts_splat_f8(q0[i &+ 1]))
        a1 = ts_fma8(a1, x, ts_splat_f8(q1[i]))
        b1 = ts_fma8(b1, y, ts_splat_f8(q1[i &+ 1]))
        a2 = ts_fma8(a2, x, ts_splat_f8(q2[i]))
        b2 = ts_fma8(b2, y, ts_splat_f8(q2[i &+ 1]))
        a3 = ts_fma8(a3, x, ts_splat_f8(q3[i]))
        b3 = ts_fma8(b3, y, ts_splat_f8(q3[i &+ 1]))
        i &+= 2
      }
      let home = z + (g &* zs &+ half &* 8)
      ts_store_f8(home, a0 + b0)
      if g &+ 1 < count { ts_store_f8(home + zs, a1 + b1) }
      if g &+ 2 < count { ts_store_f8(home + 2 &* zs, a2 + b2) }
      if g &+ 3 < count { ts_store_f8(home + 3 &* zs, a3 + b3) }
      g &+= 4
    }
    half &+= 1
  }
}
#else
@inline(never) func scoreI8(
  _ tiles: UnsafeRawPointer, _ scale: UnsafePointer<Float>, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int
) {
  let q = queries.pointee
  let d = Int(q.dim)
  let f32 = q.f32.unsafelyUnwrapped
  var tile = 0
  while tile < n {
    let base = tiles + tile &* 16 &* d
    var g = 0
    while g < Int(q.count) {
      let x = f32 + g &* d
      var part = 0
      while part < 16 {
        var a = ts_splat(0)
        var i = 0
        while i < d {
          let word = ts_load_words(base + (i &* 16 &+ part &* 4))
          a = ts_fma(a, ts_flipped_byte(word, 0), ts_splat(x[i]))
          a = ts_fma(a, ts_flipped_byte(word, 1), ts_splat(x[i &+ 1]))
          a = ts_fma(a, ts_flipped_byte(word, 2), ts_splat(x[i &+ 2]))
          a = ts_fma(a, ts_flipped_byte(word, 3), ts_splat(x[i &+ 3]))
          i &+= 4
        }
        ts_store_f32(z + (g &* zs &+ tile &* 16 &+ part), a * ts_load_f32(scale + (tile &* 16 &+ part)))
        part &+= lanes
      }
      g &+= 1
    }
    tile &+= 1
  }
}

@inline(never) func scoreBF16(_ tiles: UnsafeRawPointer, _ n: Int, _ queries: Queries, _ z: Floats, _ zs: Int) {
  let q = queries.pointee
  let d = Int(q.dim)
  let f32 = q.f32.unsafelyUnwrapped
  var tile = 0
  while tile < n {
    let base = tiles + tile &* 32 &* d
    var g = 0
    while g < Int(q.count) {
      let x = f32 + g &* d
      var part = 0
      while part < 16 {
        var a = ts_splat(0)
        var i = 0
        while i < d {
          let word = ts_load_words(base + (i &* 32 &+ part &* 4))
          a = ts_fma(a, ts_low_bf16(word), ts_splat(x[i]))
          a = ts_fma(a, ts_high_bf16(word), ts_splat(x[i &+ 1]))
          i &+= 2
        }
        ts_store_f32(z + (g &* zs &+ tile &* 16 &+ part), a)
        part &+= lanes
      }
      g &+= 1
    }
    tile &+= 1
  }
}
#endif
