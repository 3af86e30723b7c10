import CShims
import TamisCore

#if canImport(Glibc)
  import Glibc
#endif

/// Rows over a vocabulary: logits [rows, vocabulary], LM heads [vocabulary, d], of any float dtype and strides.
extension TensorView {
  /// Columns [from, from + count) of a row as f32.
  func load(row: Int, from: Int, count: Int, to: UnsafeMutablePointer<Float>, _ table: UnsafePointer<tk_table>) {
    TensorRows.load(
      data + (row * stride[0] + from * stride[1]) * dtype.size, dtype, stride: stride[1], scale: 1, count: count, to: to, table
    )
  }

  /// A whole row as f32.
  func row(_ i: Int, _ table: UnsafePointer<tk_table>) -> [Float] {
    [Float](unsafeUninitializedCapacity: shape[1]) { buffer, n in
      n = shape[1]
      load(row: i, from: 0, count: n, to: buffer.baseAddress!, table)
    }
  }

  /// A vector as a tensor of one row.
  var asRow: TensorView {
    var view = self
    view.ndim = 2
    (view.shape[0], view.shape[1]) = (1, shape[0])
    (view.stride[0], view.stride[1]) = (0, stride[0])
    return view
  }
}

/// ln sum e^z in f64: NaN for a NaN or an infinity of z, or where all of z is -inf.
@_optimize(speed)
func logSumExp(_ z: UnsafeBufferPointer<Float>) -> Double {
  var top = -Float.infinity
  for v in z {
    if v.isNaN { return .nan }
    top = max(top, v)
  }
  if top.isInfinite { return .nan }
  var sum = 0.0
  for v in z { sum += exp(Double(v) - Double(top)) }
  return Double(top) + log(sum)
}

/// The k largest of n values by index, best first; ties go to the lower index, NaN is -inf.
@_optimize(speed)
func largest(_ k: Int, of n: Int, _ value: (Int) -> Double) -> [Int] {
  // A heap with the worst of the best on top.
  var heap: [(value: Double, index: Int)] = []
  let k = min(k, n)
  if k <= 0 { return [] }
  heap.reserveCapacity(k)
  func isWorse(_ a: (value: Double, index: Int), _ b: (value: Double, index: Int)) -> Bool {
    a.value < b.value || a.value == b.value && a.index > b.index
  }
  func sink(_ start: Int) {
    var i = start
    while 2 * i + 1 < heap.count {
      var child = 2 * i + 1
      if child + 1 < heap.count && isWorse(heap[child + 1], heap[child]) { child += 1 }
      if !isWorse(heap[child], heap[i]) { return }
      heap.swapAt(i, child)
      i = child
    }
  }
  for index in 0..<n {
    let raw = value(index)
    let item = (value: raw.isNaN ? -Double.infinity : raw, index: index)
    if heap.count < k {
      heap.append(item)
      if heap.count == k { for i in stride(from: k / 2, through: 0, by: -1) { sink(i) } }
    } else if isWorse(heap[0], item) {
      heap[0] = item
      sink(0)
    }
  }
  return heap.sorted { isWorse($1, $0) }.map(\.index)
}
