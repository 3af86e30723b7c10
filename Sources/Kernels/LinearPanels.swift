// Weights into panels, once per model: for each word of a row of x, one vector of that word's weights for every output.
import CShims

typealias WeightRows = UnsafePointer<UnsafePointer<Float>?>

@inline(__always) func panelLength() -> Int { linearVectors &* lanes }

@inline(never) func packLinearF32(_ rows: WeightRows, _ inputs: Int, _ words: Int, _ panel: UnsafeMutableRawPointer) {
  let n = panelLength()
  let to = panel.assumingMemoryBound(to: Float.self)
  var o = 0
  while o < n {
    var i = 0
    if let row = rows[o] {
      while i < inputs {
        to[i &* n &+ o] = row[i]
        i &+= 1
      }
    }
    while i < words {
      to[i &* n &+ o] = 0
      i &+= 1
    }
    o &+= 1
  }
}

@inline(never) func packLinearBF16(_ rows: WeightRows, _ inputs: Int, _ words: Int, _ panel: UnsafeMutableRawPointer) {
  let n = panelLength()
  let to = panel.assumingMemoryBound(to: UInt16.self)
  var o = 0
  while o < n {
    var i = 0
    while i < 2 &* words {
      let at = ((i &>> 1) &* n &+ o) &* 2 &+ (i & 1)
      if let row = rows[o], i < inputs { to[at] = roundToBF16(row[i].bitPattern) } else { to[at] = 0 }
      i &+= 1
    }
    o &+= 1
  }
}

@inline(never) func packLinearI8(
  _ rows: WeightRows, _ scale: UnsafePointer<Float>, _ inputs: Int, _ words: Int, _ panel: UnsafeMutableRawPointer
) {
  let n = panelLength()
  #if ISA_V4X
  let shift = 2
  // Stored without a sign, as vpdpbusd takes its first operand.
  let bias: UInt8 = 128
  #else
  let shift = 1
  let bias: UInt8 = 0
  #endif
  let to = panel.assumingMemoryBound(to: UInt8.self)
  var o = 0
  while o < n {
    var i = 0
    while i < words &<< shift {
      let at = (((i &>> shift) &* n &+ o) &<< shift) &+ (i & ((1 &<< shift) &- 1))
      var level: Int8 = 0
      if let row = rows[o], i < inputs { level = quantised(row[i], scale[o]) }
      to[at] = UInt8(bitPattern: level) &+ bias
      i &+= 1
    }
    o &+= 1
  }
}
