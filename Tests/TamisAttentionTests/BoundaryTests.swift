import Tamis
import Testing

@Suite struct BoundaryPredictorTests {
  private func predictor(
    _ fixture: BoundaryFixture, heads: Int = 0, threads: Int = 1, precision: LinearPrecision = .f32
  ) throws -> BoundaryPredictor {
    let file = fixture.file(metadata: ["heads": "\(fixture.heads)", "window": "\(fixture.window)"])
    return try BoundaryPredictor(
      context: try Context(threads: threads), path: file.path, heads: heads, precision: precision)
  }

  private func largestError(_ logits: [Float], _ expected: [Double]) -> Double {
    zip(logits, expected).reduce(0.0) { max($0, abs(Double($1.0) - $1.1)) }
  }

  @Test(arguments: [(16, 2, 9), (24, 3, 8), (64, 4, 32), (40, 1, 16), (12, 12, 5), (8, 8, 1)])
  func sharedProjectionsAreTheNaiveWindows(_ width: Int, _ heads: Int, _ hidden: Int) throws {
    let fixture = BoundaryFixture(width: width, heads: heads, hidden: hidden)
    let predictor = try predictor(fixture)
    #expect(predictor.width == width && predictor.heads == heads && predictor.window == 4)
    var random = Random(5)
    for n in [1, 2, 5, 8, 33] {
      let k = Tensor.normal([2, n, width / 2], &random)
      #expect(largestError(try predictor.logits(k.view), fixture.logits(k.view)) < 2e-5)
    }
  }

  @Test(arguments: [1, 2, 3, 6, 9]) func windowsOfOtherWidths(_ window: Int) throws {
    var random = Random(6)
    let k = Tensor.normal([1, 29, 16], &random)
    for gated in [false, true] {
      let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8, window: window, gated: gated)
      #expect(largestError(try predictor(fixture).logits(k.view), fixture.logits(k.view)) < 2e-5)
    }
  }

  @Test func aBackendWithoutLinearLayersOfItsOwn() throws {
    let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8)
    let file = fixture.file()
    let predictor = try BoundaryPredictor(context: Context(backend: ReferenceBackend()), path: file.path, heads: 2)
    var random = Random(6)
    let k = Tensor.normal([2, 20, 8], &random)
    #expect(largestError(try predictor.logits(k.view), fixture.logits(k.view)) < 2e-5)
  }

  @Test func blocksAndThreadsChangeNoBit() throws {
    let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8)
    var random = Random(7)
    let k = Tensor.normal([2, 700, 8], &random)
    let one = try predictor(fixture).logits(k.view)
    for threads in [2, 5] {
      var reports: [Double] = []
      let many = try predictor(fixture, threads: threads).logits(k.view, progress: { reports.append($0); return true })
      #expect(many.map(\.bitPattern) == one.map(\.bitPattern))
      #expect(reports == reports.sorted() && reports.last == 1)
    }
    // A block's windows are those of the same keys anywhere else.
    let part = try predictor(fixture).logits(k.view.narrowed(1, from: 200, count: 120))
    #expect(part[3..<116].map(\.bitPattern) == one[203..<316].map(\.bitPattern))
    #expect(throws: TamisError.self) { try predictor(fixture).logits(k.view, progress: { _ in false }) }
  }

  @Test func equalKeysGiveEqualInteriorLogits() throws {
    let fixture = BoundaryFixture(width: 32, heads: 4, hidden: 8)
    let k = Tensor([2, 40, 16])
    for i in 0..<k.count { k.floats[i] = Float(i % 16) * 0.1 - 0.5 }
    let logits = try predictor(fixture).logits(k.view)
    #expect(logits[3..<36].allSatisfy { $0 == logits[3] })
    #expect(logits[0] != logits[3] && logits[39] != logits[3], "zeros beyond the ends are tokens too")
  }

  /// Swapping the halves of a window swaps left and right and leaves the symmetric features alone.
  @Test func theOracleIsSymmetricWhereItMustBe() {
    let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8)
    var random = Random(8)
    let k = Tensor.normal([2, 8, 8], &random)
    let x = fixture.windowTokens(k.view, 3)
    let (a, b) = (fixture.fused(x), fixture.fused(Array(x[4...] + x[..<4])))
    for i in 0..<16 { #expect(abs(a[i] - b[16 + i]) < 1e-12) }
    for i in 32..<65 { #expect(abs(a[i] - b[i]) < 1e-12) }
  }

  @Test func aNaNReachesItsWindowsOnly() throws {
    let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8)
    var random = Random(9)
    let k = Tensor.normal([2, 60, 8], &random)
    let clean = try predictor(fixture).logits(k.view)
    k[1, 30, 2] = .nan
    let logits = try predictor(fixture).logits(k.view)
    for i in 0..<60 {
      let touched = i - 3 <= 30 && 30 <= i + 4
      #expect(logits[i].isNaN == touched, "\(i)")
      if !touched { #expect(logits[i] == clean[i]) }
    }
    #expect(try BoundaryOptions(threshold: -.infinity).boundaries(logits).last == 60)
  }

  @Test func narrowPrecisionsStayNear() throws {
    let fixture = BoundaryFixture(width: 64, heads: 4, hidden: 32)
    var random = Random(10)
    let k = Tensor.normal([2, 100, 32], &random)
    let expected = fixture.logits(k.view)
    #expect(largestError(try predictor(fixture, precision: .bf16).logits(k.view), expected) < 0.05)
    #expect(largestError(try predictor(fixture, precision: .i8).logits(k.view), expected) < 0.1)
  }

  private func refusal(_ file: ScratchFile, heads: Int = 0, _ k: Tensor? = nil) -> TamisError? {
    withExtendedLifetime(file) { refusal(file.path, heads: heads, k) }
  }

  private func refusal(_ path: String, heads: Int = 0, _ k: Tensor? = nil) -> TamisError? {
    do throws(TamisError) {
      let predictor = try BoundaryPredictor(context: try Context(), path: path, heads: heads)
      if let k { _ = try predictor.logits(k.view) }
      return nil
    } catch { return error }
  }

  @Test func refusals() {
    let fixture = BoundaryFixture(width: 16, heads: 2, hidden: 8)
    let whole = fixture.file()
    #expect(refusal(whole, heads: 2) == nil)
    #expect(refusal(whole)?.status == nil, "8 heads divide 16")
    #expect(refusal(whole, heads: 3)?.message == "heads is 3; expected a divisor of the width 16")
    #expect(refusal(whole, heads: 2, Tensor([2, 4, 16]))?.status == .invalidArgument)
    #expect(refusal(whole.path + "-not-there")?.status == .notFound)
    for name in fixture.tensors.map(\.name) {
      let error = refusal(fixture.file(without: name))
      #expect(error?.status == .format && error?.message.contains(name) == true)
    }
    #expect(refusal(fixture.file(cut: 4))?.status == .format)
    #expect(refusal(fixture.file(metadata: ["heads": "two"]))?.status == .format)
    #expect(refusal(fixture.file(metadata: ["heads": "5"]))?.status == .invalidArgument)
  }
}

@Suite struct BoundaryOptionsTests {
  private func plain(_ logits: [Float], _ o: BoundaryOptions) -> [Int64] {
    let n = logits.count
    let end = o.instructionTokens > 0 && o.instructionTokens < n ? n - o.instructionTokens : nil
    var accepted = end.map { [$0] } ?? []
    let candidates = (0..<n).filter {
      $0 >= o.window - 1 && $0 < n - o.window && logits[$0] > o.threshold && $0 <= end ?? n
    }
    for i in candidates.sorted(by: { (-logits[$0], $0) < (-logits[$1], $1) }) {
      if accepted.count >= n / o.queryBlock * o.maxPerBlock { break }
      if accepted.allSatisfy({ abs($0 - i) > o.minGap }) { accepted.append(i) }
    }
    return Set([0, Int64(n)] + accepted.map { Int64($0 + 1) }).filter { $0 <= Int64(n) }.sorted()
  }

  @Test func againstPlainLoops() throws {
    var random = Random(11)
    for n in [1, 2, 9, 64, 65, 130, 1000] {
      for step in 0..<20 {
        // Few distinct values: ties are common.
        let logits = (0..<n).map { _ in Float((random.normal() * 4).rounded() / 2) }
        let options = BoundaryOptions(
          threshold: [1.1, 0, -100][step % 3], minGap: [8, 0, 3][step % 3], maxPerBlock: [8, 1, 100][step / 3 % 3],
          queryBlock: [128, 16, 1][step / 2 % 3], window: [4, 1, 7][step % 3], instructionTokens: [64, 0, 1, 5000][step % 4])
        let found = try options.boundaries(logits)
        #expect(found == plain(logits, options))
        #expect(found.first == 0 && found.last == Int64(n) && found == Set(found).sorted())
      }
    }
  }

  @Test func acceptedEndsKeepTheirDistance() throws {
    var random = Random(12)
    let logits = (0..<2000).map { _ in Float(random.normal() * 3) }
    let found = try BoundaryOptions(maxPerBlock: 4).boundaries(logits)
    let ends = found.dropFirst().dropLast()
    for (a, b) in zip(ends, ends.dropFirst()) { #expect(b - a > 8) }
    #expect(ends.count <= 2000 / 128 * 4 && ends.count > 40)
    #expect(Array(ends).last == Int64(1937))
  }

  @Test func withoutCandidates() throws {
    let flat = [Float](repeating: 1.1, count: 300)
    #expect(try BoundaryOptions().boundaries(flat) == [0, 237, 300])
    #expect(try BoundaryOptions(instructionTokens: 0).boundaries(flat) == [0, 300])
    #expect(try BoundaryOptions(instructionTokens: 300).boundaries(flat) == [0, 300])
    #expect(try BoundaryOptions().boundaries([Float](repeating: .nan, count: 300)) == [0, 237, 300])
    #expect(try BoundaryOptions().boundaries([7]) == [0, 1])
  }

  @Test func refusals() {
    for options in [
      BoundaryOptions(threshold: .nan), BoundaryOptions(minGap: -1), BoundaryOptions(maxPerBlock: -1),
      BoundaryOptions(queryBlock: 0), BoundaryOptions(window: 0), BoundaryOptions(instructionTokens: -1),
    ] {
      #expect(throws: TamisError.self) { try options.boundaries([1, 2, 3]) }
    }
    #expect(throws: TamisError.self) { try BoundaryOptions().boundaries([]) }
  }
}
