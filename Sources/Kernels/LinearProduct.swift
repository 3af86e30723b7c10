// y = x W^T with packed weights: panels and blocks of words around the register tile.
import CShims

/// Words of a row of x that pass before the sums return to memory: a panel's share (64 KB at 512-bit) stays in the
/// second-level cache while all rows use it.
@inline(__always) var linearBlockWords: Int { 512 }

@inline(__always) func linearProduct(
  _ kind: Int, _ x: UnsafeRawPointer, _ xStride: Int, _ rows: Int, _ w: UnsafeRawPointer, _ panels: Int, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ yStride: Int
) {
  let rowBytes = linearVectors &* (kind == 2 ? i8VectorBytes : lanes &* 4)
  var word = 0
  while word < words {
    let n = words &- word < linearBlockWords ? words &- word : linearBlockWords
    var p = 0
    while p < panels {
      let panel = w + (p &* words &+ word) &* rowBytes
      let home = y + p &* linearVectors &* lanes &* 4
      if word > 0 {
        linearPanel(kind, x + word &* 4, xStride, rows, panel, n, home, yStride, adding: true)
      } else {
        linearPanel(kind, x, xStride, rows, panel, n, home, yStride, adding: false)
      }
      p &+= 1
    }
    word &+= n
  }
}

@inline(__always) func linearPanel(
  _ kind: Int, _ x: UnsafeRawPointer, _ xStride: Int, _ rows: Int, _ w: UnsafeRawPointer, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ yStride: Int, adding: Bool
) {
  var r = 0
  while r &+ linearRows <= rows {
    linearTile(kind, linearRows, x + r &* xStride, xStride, w, words, y + r &* yStride, yStride, adding: adding)
    r &+= linearRows
  }
  while r &+ 4 <= rows {
    linearTile(kind, 4, x + r &* xStride, xStride, w, words, y + r &* yStride, yStride, adding: adding)
    r &+= 4
  }
  while r < rows {
    linearTile(kind, 1, x + r &* xStride, xStride, w, words, y + r &* yStride, yStride, adding: adding)
    r &+= 1
  }
}

@inline(never) func linearF32(
  _ x: UnsafeRawPointer, _ xs: Int, _ rows: Int, _ w: UnsafeRawPointer, _ panels: Int, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ ys: Int
) {
  linearProduct(0, x, xs, rows, w, panels, words, y, ys)
}
@inline(never) func linearBF16(
  _ x: UnsafeRawPointer, _ xs: Int, _ rows: Int, _ w: UnsafeRawPointer, _ panels: Int, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ ys: Int
) {
  linearProduct(1, x, xs, rows, w, panels, words, y, ys)
}
@inline(never) func linearI8(
  _ x: UnsafeRawPointer, _ xs: Int, _ rows: Int, _ w: UnsafeRawPointer, _ panels: Int, _ words: Int,
  _ y: UnsafeMutableRawPointer, _ ys: Int
) {
  linearProduct(2, x, xs, rows, w, panels, words, y, ys)
}
