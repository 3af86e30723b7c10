// Packed linear layers and what stands between them, at every level, against loops in f64 and in integers.
import CShims
import Testing

@testable import TamisCore
@testable import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// y = act(x Wᵀ + b) + residual through `PackedLinear`, from f32 rows.
struct PackedProduct {
  var level: Kernels.Level
  var precision: LinearPrecision
  var activation: Int32 = 0
  var residual: [Float]?

  func callAsFunction(_ x: [Float], rows: Int, _ weight: Matrix, bias: [Float]? = nil, threads: Int = 1) throws -> [Float] {
    let backend = try CPUBackend(threads: threads, level: level)
    let kernels = backend.kernels.pointee.linear
    let biasMatrix = bias.map { Matrix($0, 1, $0.count, vector: true) }
    let linear = PackedLinear(LinearView(weight: weight.view, bias: biasMatrix?.view), precision: precision, backend)
    let n = weight.columns
    let size = precision == .f32 ? 4 : precision == .bf16 ? 2 : Int(kernels.i8_input_bytes)
    let stride = LinearInput.stride(linear.inputs, size)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: rows * stride, alignment: 64)
    let scale = UnsafeMutablePointer<Float>.allocate(capacity: rows)
    let offset = UnsafeMutablePointer<Int32>.allocate(capacity: rows)
    var y = [Float](repeating: .nan, count: rows * linear.columns)
    defer {
      memory.deallocate()
      scale.deallocate()
      offset.deallocate()
    }
    for r in 0..<rows {
      let row = Array(x[r * n..<(r + 1) * n])
      let to = memory + r * stride
      switch precision {
      case .f32:
        let floats = to.assumingMemoryBound(to: Float.self)
        for i in 0..<linear.inputs { floats[i] = i < n ? row[i] : 0 }
      case .bf16: kernels.round_row(row, n, linear.inputs, to.assumingMemoryBound(to: UInt16.self))
      case .i8: scale[r] = kernels.quantise_row(row, n, linear.inputs, kernels.largest(row, n), to, offset + r)
      }
    }
    let input = LinearInput(rows: memory, stride: stride, scale: scale, offset: offset)
    var padded = [Float](repeating: 0, count: rows * linear.columns)
    if let residual {
      for r in 0..<rows { for c in 0..<weight.rows { padded[r * linear.columns + c] = residual[r * weight.rows + c] } }
    }
    padded.withUnsafeBufferPointer {
      linear.apply(
        input, rows: rows, to: &y, yStride: linear.columns,
        PackedLinear.Ending(
          activation: activation, residual: residual == nil ? nil : $0.baseAddress, residualStride: linear.columns))
    }
    return (0..<rows).flatMap { r in y[r * linear.columns..<r * linear.columns + weight.rows] }
  }
}

struct LinearTests {
  static let shapes: [(rows: Int, inputs: Int, outputs: Int)] = [
    (1, 1, 1), (2, 3, 5), (3, 17, 31), (5, 33, 33), (7, 64, 97), (11, 100, 7), (12, 129, 32), (13, 255, 65), (25, 300, 63),
    (38, 97, 129), (70, 211, 45), (4, 1029, 35), (3, 2500, 9),
  ]

  @Test(arguments: Kernels.available) func f32AgainstF64(_ level: Kernels.Level) throws {
    for (rows, inputs, outputs) in Self.shapes {
      var noise = Noise(UInt64(rows * 1000 + inputs))
      let x = noise.normals(rows * inputs)
      let weight = Matrix(noise.normals(outputs * inputs), outputs, inputs)
      let (bias, residual) = (noise.normals(outputs), noise.normals(rows * outputs))
      let y = try PackedProduct(level: level, precision: .f32, residual: residual)(x, rows: rows, weight, bias: bias)
      for r in 0..<rows {
        for o in 0..<outputs {
          var sum = Double(bias[o]) + Double(residual[r * outputs + o])
          var size = abs(sum)
          for i in 0..<inputs {
            sum += Double(x[r * inputs + i]) * weight.values[o * inputs + i]
            size += abs(Double(x[r * inputs + i]) * weight.values[o * inputs + i])
          }
          #expect(abs(Double(y[r * outputs + o]) - sum) <= 1e-6 * size, "\(rows) \(inputs) \(outputs) at \(r) \(o)")
        }
      }
    }
  }

  /// Inputs and weights rounded to bf16 by the oracle; the sums are f32.
  @Test(arguments: Kernels.available) func bf16AgainstF64(_ level: Kernels.Level) throws {
    for (rows, inputs, outputs) in Self.shapes {
      var noise = Noise(UInt64(rows * 1000 + inputs))
      let x = noise.normals(rows * inputs)
      let weight = Matrix(noise.normals(outputs * inputs), outputs, inputs, .bf16)
      let rounded = x.map { Double(Float(bitPattern: UInt32(bf16($0)) << 16)) }
      let y = try PackedProduct(level: level, precision: .bf16)(x, rows: rows, weight)
      for r in 0..<rows {
        for o in 0..<outputs {
          var sum = 0.0
          var size = 0.0
          for i in 0..<inputs {
            let product = rounded[r * inputs + i] * weight.values[o * inputs + i]
            sum += product
            size += abs(product)
          }
          #expect(abs(Double(y[r * outputs + o]) - sum) <= 1e-6 * size)
        }
      }
    }
  }

  /// Rows whose largest is 127 have the scale 1, so y is the integer sum (rounded once, to f32): equal bits at every level.
  @Test(arguments: Kernels.available) func int8SumsAreExact(_ level: Kernels.Level) throws {
    for (rows, inputs, outputs) in Self.shapes {
      var noise = Noise(UInt64(rows * 77 + inputs))
      // Row 0 and output 0 are all extreme: the sum that would saturate 16-bit pairs.
      func levels(_ row: Int, _ i: Int) -> Float {
        i == 0 ? 127 : row == 0 ? (i % 7 == 3 ? -127 : 127) : Float(noise.below(255) - 127)
      }
      let x = (0..<rows).flatMap { r in (0..<inputs).map { levels(r, $0) } }
      let w = (0..<outputs).flatMap { o in (0..<inputs).map { o == 1 ? ($0 == 0 ? 127 : -127) : levels(o, $0) } }
      let y = try PackedProduct(level: level, precision: .i8)(x, rows: rows, Matrix(w, outputs, inputs))
      for r in 0..<rows {
        for o in 0..<outputs {
          var sum: Int64 = 0
          for i in 0..<inputs { sum += Int64(x[r * inputs + i]) * Int64(w[o * inputs + i]) }
          #expect(y[r * outputs + o] == Float(sum), "\(rows) \(inputs) \(outputs) at \(r) \(o)")
        }
      }
    }
  }

  @Test(arguments: Kernels.available) func int8ScalesAndBias(_ level: Kernels.Level) throws {
    let (rows, inputs, outputs) = (14, 200, 50)
    var noise = Noise(3)
    let x = noise.normals(rows * inputs)
    let w = noise.normals(outputs * inputs)
    let bias = noise.normals(outputs)
    // The oracle's own quantisation: values of an int8 matrix.
    let (qx, qw) = (Matrix(x, rows, inputs, .i8), Matrix(w, outputs, inputs, .i8))
    let y = try PackedProduct(level: level, precision: .i8)(x, rows: rows, Matrix(w, outputs, inputs), bias: bias)
    // Weights that come as int8 are taken as they are.
    let same = try PackedProduct(level: level, precision: .i8)(x, rows: rows, qw, bias: bias)
    #expect(y == same)
    for r in 0..<rows {
      for o in 0..<outputs {
        let sum = zip(qx.row(r), qw.row(o)).reduce(Double(bias[o])) { $0 + $1.0 * $1.1 }
        #expect(abs(Double(y[r * outputs + o]) - sum) < 1e-4)
      }
    }
  }

  @Test func rowsDoNotDependOnTheirNeighbours() throws {
    let (rows, inputs, outputs) = (29, 600, 70)
    var noise = Noise(4)
    let x = noise.normals(rows * inputs)
    let weight = Matrix(noise.normals(outputs * inputs), outputs, inputs)
    for level in Kernels.available {
      for precision in [LinearPrecision.f32, .bf16, .i8] {
        let product = PackedProduct(level: level, precision: precision)
        let together = try product(x, rows: rows, weight)
        for r in [0, 1, 12, 23, 28] {
          let alone = try product(Array(x[r * inputs..<(r + 1) * inputs]), rows: 1, weight)
          #expect(alone == Array(together[r * outputs..<(r + 1) * outputs]))
        }
      }
    }
  }

  @Test(arguments: Kernels.available) func activations(_ level: Kernels.Level) throws {
    var x = (-4800...4800).map { Float($0) * 0.0025 } + [-1e4, 1e4, -0.0, 1e-30, -1e-30, 3e38, -3e38]
    while x.count % 32 != 0 { x.append(0) }
    let identity = Matrix([1], 1, 1)
    for activation in [Int32(1), 2, 3] {
      let y = try PackedProduct(level: level, precision: .f32, activation: activation)(x, rows: x.count, identity)
      var worst = 0.0
      for (v, got) in zip(x.map(Double.init), y) {
        let expected =
          switch activation {
          case 1: v * 0.5 * erfc(-v / 2.0.squareRoot())
          case 2: 0.5 * v * (1 + tanh((2 / Double.pi).squareRoot() * (v + 0.044715 * v * v * v)))
          default: max(0, v)
          }
        worst = max(worst, abs(Double(got) - expected) / max(1, abs(expected)))
      }
      #expect(worst < (activation == 3 ? 1e-12 : 1e-6), "\(activation)")
      let special = try PackedProduct(level: level, precision: .f32, activation: activation)(
        [.nan, .infinity], rows: 2, identity)
      #expect(special[0].isNaN && special[1] == .infinity)
    }
  }

  @Test(arguments: Kernels.available) func normalisation(_ level: Kernels.Level) {
    let kernels = Kernels.table(level).pointee.linear
    for (n, padded) in [(1, 4), (7, 8), (16, 16), (33, 48), (64, 64), (300, 320), (1024, 1024), (1027, 1040)] {
      for offset in [Float(0), 100] {
        var noise = Noise(UInt64(n))
        let x = noise.normals(n).map { $0 + offset }
        let (weight, bias) = (noise.normals(n), noise.normals(n))
        var y = [Float](repeating: .nan, count: padded)
        let top = kernels.normalise(x, n, padded, weight, bias, 1e-5, &y)
        let mean = x.reduce(0) { $0 + Double($1) } / Double(n)
        let variance = x.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(n)
        for i in 0..<n {
          let expected = (Double(x[i]) - mean) / (variance + 1e-5).squareRoot() * Double(weight[i]) + Double(bias[i])
          // The mean of numbers near 100 is known to an ulp of 100, which is then divided by the deviation.
          #expect(abs(Double(y[i]) - expected) < (offset == 0 ? 2e-6 : 1e-4) * (1 + abs(expected)), "\(n) at \(i)")
        }
        #expect(y[n...].allSatisfy { $0 == 0 })
        #expect(Float(bitPattern: top) == y.map { abs($0) }.max())
      }
    }
  }

  /// The integers that the inputs become are the same at every level; a row that is not finite becomes zeros with a NaN scale.
  @Test func quantisation() {
    let n = 77
    var noise = Noise(5)
    let x = noise.normals(n)
    let top = x.map { abs($0) }.max()!
    let expected = x.map { Int(($0 * (127 / top)).rounded(.toNearestOrEven)) }
    for level in Kernels.available {
      let kernels = Kernels.table(level).pointee.linear
      let size = Int(kernels.i8_input_bytes)
      func quantised(_ x: [Float]) -> (levels: [Int], scale: Float, offset: Int32) {
        var bytes = [Int8](repeating: 99, count: 80 * size)
        var offset: Int32 = 99
        let scale = kernels.quantise_row(x, x.count, 80, kernels.largest(x, x.count), &bytes, &offset)
        let levels = (0..<80).map { i in
          size == 1
            ? Int(bytes[i]) : Int(Int16(truncatingIfNeeded: Int(UInt8(bitPattern: bytes[2 * i])) | Int(bytes[2 * i + 1]) << 8))
        }
        return (levels, scale, offset)
      }
      let got = quantised(x)
      #expect(got.levels == expected + [0, 0, 0])
      #expect(got.scale == top / 127)
      #expect(got.offset == (size == 1 ? Int32(expected.reduce(0, +)) * 128 : 0))
      #expect(quantised([Float](repeating: 0, count: n)) == ([Int](repeating: 0, count: 80), 0, 0))
      for bad in [Float.nan, .infinity, -.infinity] {
        var y = x
        y[40] = bad
        let got = quantised(y)
        #expect(got.levels.allSatisfy { $0 == 0 } && got.scale.isNaN && got.offset == 0)
      }
      #expect(quantised([1e-42, -1e-41, 0]).levels.allSatisfy { $0 == 0 })
    }
  }
}
