import ArgumentParser
import Tamis

struct Annotate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make word labels of pairs of a text and its compression.",
    discussion: """
      The data pipeline of LLMLingua-2 (arXiv 2403.12968): words of the text that its compression kept are labelled 1, pairs \
      whose compression makes things up or does not align are left out. Reads one JSON object a line with the strings "text" \
      and "compressed"; writes the object with "words" (byte spans), "labels" and the four rates. Exit status 2 when the file \
      cannot be read or, with --strict, a line cannot.
      """)

  enum Alignment: String, ExpressibleByArgument, CaseIterable { case exact, window }
  enum Filter: String, ExpressibleByArgument, CaseIterable { case paper, official, none }

  @Argument(help: "JSON lines of pairs; - is standard input.", completion: .file())
  var pairs: String

  @Option(help: "Where the labels go.", completion: .file())
  var out: String

  @Option(help: "exact: the in-order embedding that reads most like an edit, or else window; window: the official code's.")
  var alignment = Alignment.exact

  @Option(help: "Words either way that the window alignment looks.")
  var window = Annotation.defaultWindow

  @Option(
    help: """
      paper: drop variation rates above their 95th percentile, then alignment gaps above their 90th; official: both at or \
      above their 90th; none.
      """)
  var filter = Filter.paper

  @Option(help: "Share dropped for its variation rate, instead of the filter's own.")
  var dropVariation: Double?

  @Option(help: "Share dropped for its alignment gap, instead of the filter's own.")
  var dropGap: Double?

  @Flag(help: "Stop at the first bad line.")
  var strict = false

  @Flag(help: "Say nothing but errors.")
  var quiet = false

  func run() throws {
    var options = AnnotationFile.Options()
    options.alignment = alignment == .exact ? .exact : .window
    options.window = window
    options.filter = switch filter {
    case .paper: .paper
    case .official: .official
    case .none: .none
    }
    (options.dropVariation, options.dropGap, options.isStrict) = (dropVariation, dropGap, strict)
    let path = pairs == "-" ? "/dev/stdin" : pairs
    let line = ProgressLine("annotate", isWanted: !quiet)
    let report = try reportingErrors { () throws(TamisError) in
      try AnnotationFile.annotate(
        path, to: out, options, badLine: { number, sentence in say("\(pairs), line \(number): \(sentence)") },
        progress: { line.show($0) })
    }
    line.clear()
    if !quiet { print(report.summary) }
  }
}

extension AnnotationFile.Report {
  var summary: String {
    let share = words == 0 ? 0 : (Double(labelled) / Double(words) * 1000).rounded() / 10
    let leftOut =
      (badLines == 0 ? "" : ", \(badLines) bad lines left out") + (empty == 0 ? "" : ", \(empty) without words")
    return """
      pairs:      \(pairs)\(leftOut)
      dropped:    \(droppedForVariation) for their variation rate, \(droppedForGap) for their alignment gap
      kept:       \(kept), \(words) words, \(share) % of them labelled 1
      """
  }
}
