// The encoder on the CPU backend with random weights. Reads precisions (f32, bf16, i8) from standard input, one a line, runs a
// forward for each and answers with its seconds and with those of all threads together, so that compare.py can take turns with
// other libraries.
//
//   swift run -c release tamis-bench-encoder [layers hidden heads intermediate chunk chunks threads] <<< f32
import CShims
import TamisCore
import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

@MainActor func seconds(_ clock: clockid_t) -> Double {
  var t = timespec()
  clock_gettime(clock, &t)
  return Double(t.tv_sec) + Double(t.tv_nsec) * 1e-9
}

let given = CommandLine.arguments.dropFirst().compactMap { Int($0) }
let defaults = [2, 1024, 16, 4096, 512, 4, 2]
let settings = defaults.indices.map { $0 < given.count ? given[$0] : defaults[$0] }
let (layers, hidden, heads, wide) = (settings[0], settings[1], settings[2], settings[3])
let (chunk, chunks, threads) = (settings[4], settings[5], settings[6])

var state: UInt32 = 1
@MainActor func tensor(_ shape: [Int], _ scale: Float, around: Float = 0) -> TensorView {
  let count = shape.reduce(1, *)
  let values = UnsafeMutablePointer<Float>.allocate(capacity: count)
  for i in 0..<count {
    state = state &* 1_664_525 &+ 1_013_904_223
    values[i] = (Float(state >> 8) * 0x1p-23 - 1) * scale + around
  }
  return TensorView(UnsafeMutableRawPointer(values), .f32, shape: shape)
}
@MainActor func linear(_ outputs: Int, _ inputs: Int) -> LinearView {
  LinearView(weight: tensor([outputs, inputs], 1.7 / Float(inputs).squareRoot()), bias: tensor([outputs], 0.1))
}
@MainActor func norm() -> NormView { NormView(weight: tensor([hidden], 0.1, around: 1), bias: tensor([hidden], 0.1)) }

let vocabulary = 1000
let weights = EncoderWeights(
  word: tensor([vocabulary, hidden], 1), position: tensor([chunk, hidden], 0.3), type: tensor([1, hidden], 0.3),
  embeddingNorm: norm(), projection: nil,
  layers: (0..<layers).map { _ in
    EncoderLayerView(
      query: linear(hidden, hidden), key: linear(hidden, hidden), value: linear(hidden, hidden),
      attentionOutput: linear(hidden, hidden), attentionNorm: norm(), intermediate: linear(wide, hidden),
      output: linear(hidden, wide), outputNorm: norm())
  }, heads: heads, epsilon: 1e-5, activation: .gelu)

let tokens = RaggedTokens((0..<chunks).map { c in (0..<chunk).map { Int32(($0 * 31 + c * 7) % vocabulary) } })
let positions = (0..<chunks).flatMap { _ in (0..<chunk).map { Int32($0) } }
var states = [Float](repeating: 0, count: tokens.ids.count * hidden)
let backend = try CPUBackend(threads: threads)
var programs: [String: any EncoderProgram] = [:]

while let line = readLine() {
  guard let precision = ["f32": LinearPrecision.f32, "bf16": .bf16, "i8": .i8][line] else {
    print("expected f32, bf16 or i8")
    continue
  }
  if programs[line] == nil {
    let program = try backend.makeEncoder(weights, precision: precision)
    programs[line] = program
    try program.forward(tokens, positions: positions, types: nil, into: &states, progress: nil)
  }
  let start = (seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID))
  try programs[line]!.forward(tokens, positions: positions, types: nil, into: &states, progress: nil)
  print(seconds(CLOCK_MONOTONIC) - start.0, seconds(CLOCK_PROCESS_CPUTIME_ID) - start.1)
  fflush(nil)
}
