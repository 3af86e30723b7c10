import TamisCore

#if canImport(Glibc)
import Glibc
#endif

/// Word embeddings with rows appended for tokens the file does not know: each is the mean of the file's rows, computed in f64
/// and rounded to the file's dtype. (LLMLingua-2 adds placeholder tokens; what an untrained row holds is otherwise left to
/// chance.)
final class AddedRows {
  private(set) var view: TensorView
  private let memory: UnsafeMutableRawPointer
  private let scales: UnsafeMutablePointer<Float>?

  /// `word` [rows, width], rows one after another.
  /// - Throws: `outOfMemory`.
  init(_ word: TensorView, adding count: Int) throws(TamisError) {
    let (rows, width) = (word.shape[0], word.shape[1])
    let rowBytes = width * word.dtype.size
    guard let memory = aligned_alloc(64, ((rows + count) * rowBytes + 63) & ~63) else {
      throw TamisError(
        .outOfMemory, "added_rows is \(count); the system has no \((rows + count) * rowBytes) bytes for the vocabulary's rows")
    }
    self.memory = memory
    memory.copyMemory(from: word.data, byteCount: rows * rowBytes)
    scales = word.dtype == .i8 ? .allocate(capacity: rows + count) : nil
    if let scales {
      if let old = word.scale { scales.update(from: old, count: rows) } else { scales.update(repeating: 1, count: rows) }
    }
    view = TensorView(memory, word.dtype, shape: [rows + count, width], scale: scales)
    let mean = Self.mean(word)
    let table = Kernels.active
    for row in rows..<(rows + count) {
      let to = memory + row * rowBytes
      if let scales {
        scales[row] = table.pointee.f32_to_i8(mean, to.assumingMemoryBound(to: Int8.self), width)
      } else {
        TensorRows.store(mean, count: width, to: to, word.dtype, stride: 1, table)
      }
    }
  }

  deinit {
    free(memory)
    scales?.deallocate()
  }

  private static func mean(_ word: TensorView) -> [Float] {
    let (rows, width) = (word.shape[0], word.shape[1])
    var sums = [Double](repeating: 0, count: width)
    var row = [Float](repeating: 0, count: width)
    let table = Kernels.active
    for i in 0..<rows {
      word.loadMatrixRow(i, to: &row, table)
      for j in 0..<width { sums[j] += Double(row[j]) }
    }
    return sums.map { Float($0 / Double(rows)) }
  }
}
