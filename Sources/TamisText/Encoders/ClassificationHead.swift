import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// logits = Wc x + bc for every token, in f32 on the host; before it, for ELECTRA's discriminator (arXiv 2003.10555),
/// x = act(Wd x + bd).
final class ClassificationHead: Sendable {
  private let hidden: DenseLayer?
  private let output: DenseLayer
  private let activation: EncoderActivation
  let labels: [String]

  init(hidden: LinearView?, output: LinearView, activation: EncoderActivation, labels: [String]) {
    self.hidden = hidden.map { DenseLayer($0) }
    self.output = DenseLayer(output)
    self.activation = activation
    self.labels = labels
  }

  var parameters: Int { output.parameters + (hidden?.parameters ?? 0) }

  /// states [n, hidden] to logits [n, labels].
  func apply(_ states: UnsafePointer<Float>, count n: Int, to logits: UnsafeMutablePointer<Float>) {
    guard let hidden else { return output.apply(states, count: n, to: logits) }
    let width = hidden.outputs
    withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { x in
      guard let x = x.baseAddress else { return }
      for i in 0..<n {
        hidden.apply(states + i * hidden.inputs, count: 1, to: x)
        for j in 0..<width { x[j] = activate(x[j]) }
        output.apply(x, count: 1, to: logits + i * output.outputs)
      }
    }
  }

  private func activate(_ x: Float) -> Float {
    switch activation {
    case .gelu: 0.5 * x * (1 + erff(x * 0.70710678))
    case .geluTanh: 0.5 * x * (1 + tanhf(0.7978845608 * (x + 0.044715 * x * x * x)))
    case .relu: max(x, 0)
    }
  }

  /// Softmax over the labels of each row, in place; of a single label, its logistic function.
  func probabilities(_ logits: UnsafeMutablePointer<Float>, count n: Int) {
    let width = labels.count
    for i in 0..<n {
      let row = logits + i * width
      if width == 1 {
        row[0] = 1 / (1 + expf(-row[0]))
        continue
      }
      var top = -Float.infinity
      for j in 0..<width { top = max(top, row[j]) }
      var sum: Float = 0
      for j in 0..<width {
        row[j] = expf(row[j] - top)
        sum += row[j]
      }
      for j in 0..<width { row[j] /= sum }
    }
  }
}

/// y = x Wᵀ + b for a handful of outputs; the weights are copied as f32.
private final class DenseLayer: @unchecked Sendable {
  let inputs: Int
  let outputs: Int
  private let weight: UnsafeMutablePointer<Float>
  private let bias: UnsafeMutablePointer<Float>

  init(_ view: LinearView) {
    outputs = view.weight.shape[0]
    inputs = view.weight.shape[1]
    weight = .allocate(capacity: outputs * inputs)
    bias = .allocate(capacity: outputs)
    let table = Kernels.active
    for i in 0..<outputs { view.weight.loadMatrixRow(i, to: weight + i * inputs, table) }
    bias.initialize(repeating: 0, count: outputs)
    if let b = view.bias { TensorRows.load(b.data, b.dtype, stride: b.stride[0], scale: 1, count: outputs, to: bias, table) }
  }

  deinit {
    weight.deallocate()
    bias.deallocate()
  }

  var parameters: Int { outputs * (inputs + 1) }

  func apply(_ x: UnsafePointer<Float>, count n: Int, to y: UnsafeMutablePointer<Float>) {
    for i in 0..<n {
      for j in 0..<outputs { y[i * outputs + j] = bias[j] + dot(x + i * inputs, weight + j * inputs, inputs) }
    }
  }
}

/// In 16 lanes, so that the compiler can use them.
private func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ n: Int) -> Float {
  var sums = SIMD16<Float>(repeating: 0)
  var i = 0
  while i + 16 <= n {
    let x = UnsafeRawPointer(a + i).loadUnaligned(as: SIMD16<Float>.self)
    let y = UnsafeRawPointer(b + i).loadUnaligned(as: SIMD16<Float>.self)
    sums += x * y
    i += 16
  }
  var sum: Float = 0
  for lane in 0..<16 { sum += sums[lane] }
  while i < n {
    sum += a[i] * b[i]
    i += 1
  }
  return sum
}
