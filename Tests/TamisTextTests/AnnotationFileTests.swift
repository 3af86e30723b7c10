import TamisCore
import Testing

@testable import TamisText

#if canImport(Glibc)
import Glibc
#endif

/// Runs the tool over these lines in a folder of its own.
private func run(_ lines: String, _ change: (inout AnnotationFile.Options) -> Void = { _ in }) throws
  -> (report: AnnotationFile.Report, lines: [String], bad: [Int])
{
  var pattern = Array("/tmp/tamis-annotation-XXXXXX".utf8CString)
  guard mkdtemp(&pattern) != nil else { throw TamisError(.io, "mkdtemp") }
  let folder = String(decoding: pattern.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  let (input, output) = (folder + "/in.jsonl", folder + "/out.jsonl")
  defer {
    unlink(input)
    unlink(output)
    rmdir(folder)
  }
  let file = fopen(input, "w")!
  let bytes = Array(lines.utf8)
  fwrite(bytes, 1, bytes.count, file)
  fclose(file)
  var options = AnnotationFile.Options()
  options.filter = .none
  change(&options)
  var bad: [Int] = []
  do {
    let report = try AnnotationFile.annotate(input, to: output, options, badLine: { line, sentence in
      #expect(!sentence.isEmpty)
      bad.append(line)
    })
    let written = try MappedFile(path: output)
    let text = String(decoding: written.bytes, as: UTF8.self)
    return (report, text.split(separator: "\n").map(String.init), bad)
  } catch {
    // A failed call leaves nothing behind.
    #expect(access(output, F_OK) != 0)
    throw error
  }
}

private func parse(_ line: String) throws -> JSON { try Array(line.utf8).withUnsafeBytes { try JSON($0) } }

@Suite struct AnnotationFileTests {
  @Test func pairsBecomeLabels() throws {
    let (report, lines, bad) = try run(
      """
      {"id": "a", "text": "Well, the café is  open.", "compressed": "café open", "labels": "old"}

      {"compressed": "two", "text": "one\\ntwo \\ud83d\\ude00"}
      """)
    #expect(report == AnnotationFile.Report(pairs: 2, kept: 2, words: 8, labelled: 3))
    #expect(bad.isEmpty)
    let first = try parse(lines[0])
    #expect(first["id"]?.string == "a")
    #expect(first.object?.map(\.name) == [
      "id", "text", "compressed", "words", "labels", "variation_rate", "hitting_rate", "matching_rate", "alignment_gap",
    ])
    #expect(first["words"]?.array?.last?.array?.map(\.integer) == [20, 25])  // é has two bytes
    #expect(first["labels"]?.array?.map(\.integer) == [0, 0, 1, 0, 1])
    #expect(first["variation_rate"] == .number(0))
    #expect(try parse(lines[1])["labels"]?.array?.map(\.integer) == [0, 1, 0])
  }

  @Test func badLinesAreReported() throws {
    let text = """
      {"text": "a b", "compressed": "a"}
      not json
      {"text": "a b"}
      {"text": 5, "compressed": "a"}
      [1]
      {"text": "  ", "compressed": "a"}
      {"text": "a b", "compressed": "b"}
      {"text": "cut
      """
    let (report, lines, bad) = try run(text)
    #expect(bad == [2, 3, 4, 5, 8])
    #expect(report.pairs == 2 && report.badLines == 5 && report.empty == 1 && lines.count == 2)
    #expect { try run(text) { $0.isStrict = true } } throws: {
      let error = $0 as? TamisError
      return error?.status == .format && error?.message.contains("line 2") == true
    }
  }

  @Test func theFilterWaitsForTheLastLine() throws {
    // one pair in twenty-one makes everything up
    let good = (0..<20).map { "{\"text\": \"one two three \($0)\", \"compressed\": \"one \($0)\"}\n" }
    let bad = "{\"text\": \"one two\", \"compressed\": \"quite other words\"}\n"
    let all = (good[..<5] + [bad] + good[5...]).joined()
    let (report, lines, _) = try run(all) { $0.filter = .paper }
    #expect(report.pairs == 21 && report.kept == 20 && report.droppedForVariation == 1 && report.droppedForGap == 0)
    #expect(lines.count == 20 && lines.allSatisfy { !$0.contains("quite") })
    #expect(try run(all) { $0.filter = .official }.report.kept == 0)
  }

  @Test func nothingIn() throws {
    let (report, lines, _) = try run("") { $0.filter = .paper }
    #expect(report == AnnotationFile.Report() && lines.isEmpty)
    #expect { try AnnotationFile.annotate("/nowhere/at/all", to: "/tmp/out") } throws: {
      ($0 as? TamisError)?.status == .notFound
    }
    #expect { try AnnotationFile.annotate("/dev/null", to: "/nowhere/at/all") } throws: {
      ($0 as? TamisError)?.status == .io || ($0 as? TamisError)?.status == .notFound
    }
    #expect(throws: TamisError.self) { try run("{\"text\": \"a\", \"compressed\": \"a\"}") { $0.window = 0 } }
  }

}
