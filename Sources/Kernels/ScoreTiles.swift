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
