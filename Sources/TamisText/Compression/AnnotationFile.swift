public import TamisCore
public import TamisDevice

#if canImport(Glibc)
import Glibc
#endif

/// A JSON-lines file of pairs to one of word labels, line by line.
public enum AnnotationFile {
  public struct Options: Sendable {
    public var alignment = WordAlignment.exact
    public var window = Annotation.defaultWindow
    public var filter = AnnotationFilter.paper
    /// Shares that replace the filter's own.
    public var dropVariation: Double?
    public var dropGap: Double?
    /// Whether the first bad line ends the work; otherwise bad lines are left out and reported.
    public var isStrict = false

    public init() {}
  }

  public struct Report: Sendable, Equatable {
    public var pairs = 0
    public var badLines = 0
    public var empty = 0
    public var droppedForVariation = 0
    public var droppedForGap = 0
    public var kept = 0
    public var words = 0
    public var labelled = 0
  }

  /// In: an object a line with the strings "text" and "compressed". Out: the object and "words" [[start, end], ..], "labels"
  /// [0, 1, ..], "variation_rate", "hitting_rate", "matching_rate", "alignment_gap", in the order of the input. What was
  /// annotated waits in an unnamed file until the filter's percentiles are known: memory is one line and a few numbers per
  /// pair.
  /// - Parameter badLine: called for each line that is left out, numbered from 1.
  /// - Throws: `notFound`, `io`, `cancelled`; `format` for a bad line when strict.
  public static func annotate(
    _ path: String, to outPath: String, _ options: Options = Options(), badLine: ((Int, String) -> Void)? = nil,
    progress: Progress? = nil
  ) throws(TamisError) -> Report {
    let lines = try LineReader(path)
    let out = try ReplacementFile(outPath)
    guard let waiting = tmpfile() else { throw MappedFile.error("create", "a temporary file") }
    defer { fclose(waiting) }
    var report = Report()
    var pairs = Pairs()
    while let line = try lines.next() {
      if lines.number % 64 == 0, let progress, !progress(lines.share) { throw TamisError(.cancelled, "progress returned 0") }
      if line.allSatisfy({ $0 == 0x20 || (0x09...0x0d).contains($0) }) { continue }
      do throws(TamisError) {
        let pair = try Pair(line, options)
        if pair.annotation.words.isEmpty {
          report.empty += 1
          continue
        }
        let text = Array((pair.labelled.text + "\n").utf8)
        guard fwrite(text, 1, text.count, waiting) == text.count else { throw MappedFile.error("write", "a temporary file") }
        pairs.append(pair.annotation, bytes: text.count)
      } catch {
        guard error.status == .format else { throw error }
        if options.isStrict { throw TamisError(.format, "path: \(path), line \(lines.number): \(error.message)") }
        report.badLines += 1
        badLine?(lines.number, error.message)
      }
    }
    let outcome = try options.filter.apply(
      variationRates: pairs.variationRates, alignmentGaps: pairs.alignmentGaps, dropVariation: options.dropVariation,
      dropGap: options.dropGap)
    report.pairs = pairs.bytes.count
    report.droppedForVariation = outcome.droppedForVariation
    report.droppedForGap = outcome.droppedForGap
    report.kept = outcome.kept.count
    for pair in outcome.kept {
      report.words += Int(pairs.words[Int(pair)])
      report.labelled += Int(pairs.labelled[Int(pair)])
    }
    rewind(waiting)
    try copy(outcome.kept, of: pairs.bytes, from: waiting, to: out)
    try out.commit()
    return report
  }

  private static func copy(
    _ kept: [Int32], of bytes: [Int], from waiting: UnsafeMutablePointer<FILE>, to out: ReplacementFile
  ) throws(TamisError) {
    var next = 0
    for (pair, count) in bytes.enumerated() {
      if next == kept.count { return }
      if Int(kept[next]) == pair {
        next += 1
        var line = [UInt8](repeating: 0, count: count)
        guard fread(&line, 1, count, waiting) == count else { throw MappedFile.error("read", "a temporary file") }
        try out.write(count, of: line)
      } else {
        guard fseek(waiting, count, SEEK_CUR) == 0 else { throw MappedFile.error("seek in", "a temporary file") }
      }
    }
  }

  /// What is kept of every pair until the end.
  private struct Pairs {
    var variationRates: [Double] = []
    var alignmentGaps: [Double] = []
    var words: [Int32] = []
    var labelled: [Int32] = []
    /// Of its line in the waiting file.
    var bytes: [Int] = []

    mutating func append(_ annotation: Annotation, bytes count: Int) {
      variationRates.append(annotation.variationRate)
      alignmentGaps.append(annotation.alignmentGap)
      words.append(Int32(truncatingIfNeeded: annotation.words.count))
      labelled.append(Int32(truncatingIfNeeded: annotation.labelled))
      bytes.append(count)
    }
  }

  /// One line, read and annotated.
  private struct Pair {
    let object: JSON
    let annotation: Annotation

    init(_ line: UnsafeRawBufferPointer, _ options: Options) throws(TamisError) {
      object = try JSON(line)
      let text = try Self.member("text", of: object)
      let compressed = try Self.member("compressed", of: object)
      annotation = try text.withUnsafeBufferPointer { (text) throws(TamisError) in
        try compressed.withUnsafeBufferPointer { (compressed) throws(TamisError) in
          try Annotation(text, compressed: compressed, alignment: options.alignment, window: options.window)
        }
      }
    }

    private static func member(_ name: String, of object: JSON) throws(TamisError) -> [UInt8] {
      guard let text = object[name]?.string else { throw TamisError(.format, "expected an object with the string \"\(name)\"") }
      return Array(text.utf8)
    }

    /// The object with what was found out.
    var labelled: JSON {
      let words = annotation.words.map { JSON.array([.integer(Int64($0.start)), .integer(Int64($0.end))]) }
      let added = JSON.members([
        "words": .array(words), "labels": .array(annotation.labels.map { .integer($0 ? 1 : 0) }),
        "variation_rate": .number(annotation.variationRate), "hitting_rate": .number(annotation.hittingRate),
        "matching_rate": .number(annotation.matchingRate), "alignment_gap": .number(annotation.alignmentGap),
      ]).object ?? []
      let given = (object.object ?? []).filter { member in !added.contains { $0.name == member.name } }
      return .object(given + added)
    }
  }
}

/// The lines of a file, however long, one at a time.
private final class LineReader {
  private let path: String
  private let file: UnsafeMutablePointer<FILE>
  private let size: Int
  private var read = 0
  private var line: UnsafeMutablePointer<CChar>?
  private var capacity = 0
  /// Of the line that `next` gave last, from 1.
  private(set) var number = 0

  init(_ path: String) throws(TamisError) {
    self.path = path
    guard let file = fopen(path, "re") else { throw MappedFile.error("open", path) }
    var info = stat()
    size = fstat(fileno(file), &info) == 0 ? Int(info.st_size) : 0
    self.file = file
  }

  deinit {
    free(line)
    fclose(file)
  }

  /// Share of the file that was read; 0 where its size is not known.
  var share: Double { size > 0 ? min(1, Double(read) / Double(size)) : 0 }

  /// Valid until the next call; nil after the last line. A line ends before its line feed.
  func next() throws(TamisError) -> UnsafeRawBufferPointer? {
    errno = 0
    let count = getline(&line, &capacity, file)
    guard count >= 0 else {
      if feof(file) == 0 || ferror(file) != 0 { throw MappedFile.error("read", path) }
      return nil
    }
    read += count
    number += 1
    let bytes = UnsafeRawBufferPointer(start: line, count: count)
    return bytes.last == UInt8(ascii: "\n") ? UnsafeRawBufferPointer(rebasing: bytes.dropLast()) : bytes
  }
}
