import Tamis

#if canImport(Glibc)
import Glibc
#endif

/// A boundary predictor of random weights, as a safetensors file and as the network written out window by window in f64: every
/// window projects its own eight tokens, zero vectors included, and nothing is shared.
struct BoundaryFixture {
  let width, heads, hidden, window: Int
  private(set) var tensors: [(name: String, shape: [Int], values: [Float])] = []

  init(width: Int, heads: Int, hidden: Int, window: Int = 4, gated: Bool = false, seed: UInt64 = 3) {
    (self.width, self.heads, self.hidden, self.window) = (width, heads, hidden, window)
    var random = Random(seed)
    func add(_ name: String, _ shape: [Int], _ scale: Double, around: Double = 0) {
      let values = (0..<shape.reduce(1, *)).map { _ in Float(around + random.normal() * scale) }
      tensors.append((name, shape, values))
    }
    let spread = 1 / Double(width).squareRoot()
    add("enc.mha.in_proj_weight", [3 * width, width], 1.5 * spread)
    add("enc.mha.in_proj_bias", [3 * width], 0.3)
    add("enc.mha.out_proj.weight", [width, width], spread)
    add("enc.mha.out_proj.bias", [width], 0.3)
    add("enc.norm.weight", [width], 0.2, around: 1)
    add("enc.norm.bias", [width], 0.2)
    add("mlp.0.weight", [hidden, 4 * width + 1], 0.5 * spread)
    add("mlp.0.bias", [hidden], 0.2)
    add("mlp.2.weight", [1, hidden], 1 / Double(hidden).squareRoot())
    add("mlp.2.bias", [1], 0.2)
    if gated { add("pool.gate.weight", [1, width], 2 * spread) }
  }

  func file(metadata: [String: String] = [:], without: String? = nil, cut: Int = 0) -> ScratchFile {
    var header = "{"
    if !metadata.isEmpty {
      header += "\"__metadata__\":{" + metadata.map { "\"\($0)\":\"\($1)\"" }.joined(separator: ",") + "},"
    }
    var data: [UInt8] = []
    for t in tensors where t.name != without {
      let start = data.count
      t.values.withUnsafeBytes { data += Array($0) }
      if start > 0 { header += "," }
      header += "\"\(t.name)\":{\"dtype\":\"F32\",\"shape\":\(t.shape),\"data_offsets\":[\(start),\(data.count)]}"
    }
    header += "}"
    while header.utf8.count % 8 != 0 { header += " " }
    let length = withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { Array($0) }
    let file = ScratchFile()
    file.bytes = (length + Array(header.utf8) + data).dropLast(cut)
    return file
  }

  private func tensor(_ name: String) -> [Double]? { tensors.first { $0.name == name }.map { $0.values.map(Double.init) } }

  private func linear(_ x: [Double], _ weight: [Double], _ bias: [Double], rows: Range<Int>) -> [Double] {
    rows.map { o in x.indices.reduce(bias[o]) { $0 + weight[o * x.count + $1] * x[$1] } }
  }

  /// The 2w tokens around the gap behind token i; zeros outside.
  func windowTokens(_ k: TensorView, _ i: Int) -> [[Double]] {
    (i - window + 1...i + window).map { t in
      (0..<k.shape[0]).flatMap { h in
        (0..<k.shape[2]).map { t >= 0 && t < k.shape[1] ? get(k, h, t, $0) : 0 }
      }
    }
  }

  /// [left, right, |left - right|, left * right, cosine] of one window.
  func fused(_ x: [[Double]]) -> [Double] {
    let (n, d) = (x.count, width / heads)
    let (inW, inB) = (tensor("enc.mha.in_proj_weight")!, tensor("enc.mha.in_proj_bias")!)
    let q = x.map { linear($0, inW, inB, rows: 0..<width) }
    let k = x.map { linear($0, inW, inB, rows: width..<2 * width) }
    let v = x.map { linear($0, inW, inB, rows: 2 * width..<3 * width) }
    let y = (0..<n).map { r -> [Double] in
      var context = [Double](repeating: 0, count: width)
      for h in 0..<heads {
        let dims = h * d..<(h + 1) * d
        let logits = (0..<n).map { j in dims.reduce(0.0) { $0 + q[r][$1] * k[j][$1] } / Double(d).squareRoot() }
        let top = logits.max()!
        let e = logits.map { exp($0 - top) }
        let sum = e.reduce(0, +)
        for i in dims { context[i] = (0..<n).reduce(0.0) { $0 + e[$1] / sum * v[$1][i] } }
      }
      let o = linear(context, tensor("enc.mha.out_proj.weight")!, tensor("enc.mha.out_proj.bias")!, rows: 0..<width)
      let mean = o.reduce(0, +) / Double(width)
      let variance = o.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
      let (weight, bias) = (tensor("enc.norm.weight")!, tensor("enc.norm.bias")!)
      return o.indices.map { (o[$0] - mean) / (variance + 1e-5).squareRoot() * weight[$0] + bias[$0] }
    }
    func pooled(_ rows: ArraySlice<[Double]>) -> [Double] {
      var shares = rows.map { _ in 1 / Double(rows.count) }
      if let gate = tensor("pool.gate.weight") {
        let z = rows.map { row in row.indices.reduce(0.0) { $0 + gate[$1] * row[$1] } }
        let e = z.map { exp($0 - z.max()!) }
        shares = e.map { $0 / e.reduce(0, +) }
      }
      return (0..<width).map { i in zip(rows, shares).reduce(0.0) { $0 + $1.0[i] * $1.1 } }
    }
    let (left, right) = (pooled(y[..<(n / 2)]), pooled(y[(n / 2)...]))
    func norm(_ x: [Double]) -> Double { max(x.reduce(0) { $0 + $1 * $1 }.squareRoot(), 1e-6) }
    let products = zip(left, right).map { $0 * $1 }
    return left + right + zip(left, right).map { abs($0 - $1) } + products
      + [products.reduce(0, +) / (norm(left) * norm(right))]
  }

  func logit(_ x: [[Double]]) -> Double {
    let f = fused(x)
    let h = linear(f, tensor("mlp.0.weight")!, tensor("mlp.0.bias")!, rows: 0..<hidden).map { max($0, 0) }
    return linear(h, tensor("mlp.2.weight")!, tensor("mlp.2.bias")!, rows: 0..<1)[0]
  }

  func logits(_ k: TensorView) -> [Double] { (0..<k.shape[1]).map { logit(windowTokens(k, $0)) } }
}
