// include/tamis/annotation.h
import CTamis
import Tamis

extension tamis_annotation: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self { Self() }
}

private let alignments: StaticString = "TAMIS_ALIGN_EXACT or TAMIS_ALIGN_WINDOW"
private let filters: StaticString = "TAMIS_FILTER_NONE, TAMIS_FILTER_PAPER or TAMIS_FILTER_OFFICIAL"

private func window(_ value: Int32, _ name: StaticString) throws(TamisError) -> Int {
  try require(value >= 0 && value <= 1 << 30, "\(name) is \(value); expected 1 to 2^30, or 0 for \(Annotation.defaultWindow)")
  return value == 0 ? Annotation.defaultWindow : Int(value)
}

/// A share that replaces the filter's own; negative is none.
private func share(_ value: Double, _ name: StaticString) throws(TamisError) -> Double? {
  try require(value <= 1, "\(name) is \(value); expected 0 to 1, or less than 0 for the filter's own")
  return value < 0 ? nil : value
}

@c @implementation public func tamis_annotate(
  _ bytes: UnsafePointer<CChar>!, _ length: Int, _ compressed: UnsafePointer<CChar>!, _ compressedLength: Int,
  _ alignment: tamis_alignment, _ windowWords: Int32, _ words: UnsafeMutablePointer<tamis_span>!,
  _ labels: UnsafeMutablePointer<Int32>!, _ capacity: Int64, _ count: UnsafeMutablePointer<Int64>!,
  _ annotation: UnsafeMutablePointer<tamis_annotation>!
) -> tamis_status {
  status { () throws(TamisError) in
    let original = try text(bytes, length, "text", "length")
    let compressed = try text(compressed, compressedLength, "compressed", "compressed_length")
    let alignment = try choice(alignment, "alignment", WordAlignment.self, alignments)
    let window = try window(windowWords, "window")
    let count = try need(count, "count")
    if annotation != nil { try checkOutput(annotation, "annotation") }
    let found = try Annotation(original, compressed: compressed, alignment: alignment, window: window)
    let n = found.words.count
    guard capacity >= Int64(n) || words == nil && labels == nil else {
      count.pointee = Int64(n)
      throw TamisError(.bufferTooSmall, "capacity is \(capacity); expected at least \(n)")
    }
    let labelRoom = labels == nil ? nil : try room(labels, n, "labels")
    if words != nil { try write(found.words, to: words, capacity, count) }
    if let labelRoom { for i in 0..<n { labelRoom[i] = found.labels[i] ? 1 : 0 } }
    count.pointee = Int64(n)
    if let annotation {
      write(
        tamis_annotation(
          struct_size: 0, words: Int32(clamping: n), compressed_words: Int32(clamping: found.compressedWords),
          labelled: Int32(clamping: found.labelled), alignment: found.alignment.rawValue, reserved: 0,
          variation_rate: found.variationRate, hitting_rate: found.hittingRate, matching_rate: found.matchingRate,
          alignment_gap: found.alignmentGap),
        to: annotation)
    }
  }
}

@c @implementation public func tamis_filter_annotations(
  _ variationRates: UnsafePointer<Double>!, _ alignmentGaps: UnsafePointer<Double>!, _ n: Int64, _ filter: tamis_filter,
  _ dropVariation: Double, _ dropGap: Double, _ indices: UnsafeMutablePointer<Int32>!, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try TamisABI.count(n, "n")
    let variationRates = Array(try array(variationRates, n, "variation_rates"))
    let alignmentGaps = Array(try array(alignmentGaps, n, "alignment_gaps"))
    let filter = try choice(filter, "filter", AnnotationFilter.self, filters)
    let count = try need(count, "count")
    let outcome = try filter.apply(
      variationRates: variationRates, alignmentGaps: alignmentGaps, dropVariation: try share(dropVariation, "drop_variation"),
      dropGap: try share(dropGap, "drop_gap"))
    try write(outcome.kept, to: indices, count)
  }
}

extension tamis_annotate_options: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, alignment: TAMIS_ALIGN_EXACT, window: 150, filter: TAMIS_FILTER_PAPER, drop_variation: -1,
      drop_gap: -1, strict: 0, reserved: 0, progress: nil, progress_user: nil, bad_line: nil, bad_line_user: nil)
  }
}

extension tamis_annotate_report: VersionedStruct {
  static var firstSize: Int { 72 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_annotate_options_init(_ options: UnsafeMutablePointer<tamis_annotate_options>!) {
  options?.initialize(to: .defaults)
}

extension AnnotationFile.Options {
  init(_ raw: tamis_annotate_options) throws(TamisError) {
    self.init()
    alignment = try choice(raw.alignment, "options->alignment", WordAlignment.self, alignments)
    window = try TamisABI.window(raw.window, "options->window")
    filter = try choice(raw.filter, "options->filter", AnnotationFilter.self, filters)
    dropVariation = try share(raw.drop_variation, "options->drop_variation")
    dropGap = try share(raw.drop_gap, "options->drop_gap")
    isStrict = try flag(raw.strict, "options->strict")
    try require(raw.reserved == 0, "options->reserved is \(raw.reserved); expected 0")
  }
}

@c @implementation public func tamis_annotate_file(
  _ path: UnsafePointer<CChar>!, _ outPath: UnsafePointer<CChar>!, _ options: UnsafePointer<tamis_annotate_options>!,
  _ report: UnsafeMutablePointer<tamis_annotate_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let path = try string(path, "path")
    let outPath = try string(outPath, "out_path")
    let raw = try read(options, "options")
    let options = try AnnotationFile.Options(raw)
    if report != nil { try checkOutput(report, "report") }
    var badLine: ((Int, String) -> Void)?
    if let callback = raw.bad_line {
      badLine = { line, sentence in sentence.withCString { callback(Int64(line), $0, raw.bad_line_user) } }
    }
    let done = try AnnotationFile.annotate(
      path, to: outPath, options, badLine: badLine, progress: progress(raw.progress, raw.progress_user))
    if let report {
      write(
        tamis_annotate_report(
          struct_size: 0, reserved: 0, pairs: Int64(done.pairs), bad_lines: Int64(done.badLines), empty: Int64(done.empty),
          dropped_variation: Int64(done.droppedForVariation), dropped_gap: Int64(done.droppedForGap), kept: Int64(done.kept),
          words: Int64(done.words), labelled: Int64(done.labelled)),
        to: report)
    }
  }
}
