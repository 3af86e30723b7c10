/// A page that shows which words of a text were kept and which were dropped: one file, no script, light and dark.
public struct CompressionPage {
  private let names: [String]
  private let texts: [[UInt8]]
  private let result: Compression

  /// `texts` are what was compressed, `names` their headings.
  public init(names: [String], texts: [[UInt8]], result: Compression) {
    self.names = names
    self.texts = texts
    self.result = result
  }

  public var html: String {
    var page = """
      <!doctype html>
      <html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>tamis compress</title>
      <style>
      :root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --gone: #9a9a9a; --mark: #b45309; --line: #ddd }
      @media (prefers-color-scheme: dark) {
        :root { --text: #eee; --back: #161616; --gone: #6a6a6a; --mark: #fbbf24; --line: #333 }
      }
      body { color: var(--text); background: var(--back); font: 16px/1.6 system-ui, sans-serif }
      body { max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
      section { white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid var(--line); padding: 1rem 0 }
      del { color: var(--gone); text-decoration-thickness: 1px }
      b { color: var(--mark); font-weight: 600 }
      h2 { font-size: 1rem; white-space: normal }
      </style>
      <h1>Kept and dropped words</h1>
      <p>\(CompressionReport(result).line.escaped)</p>
      <p>Plain: kept. <b>Coloured</b>: kept because it was forced. <del>Struck out</del>: dropped.</p>

      """
    for (i, context) in result.contexts.enumerated() {
      page += "<section><h2>\((i < names.count ? names[i] : "text \(i + 1)").escaped)"
      page += ": \(context.originTokens) tokens, \(context.kept ? "\(context.compressedTokens) kept" : "dropped whole")</h2>"
      page += body(context, i < texts.count ? texts[i] : [])
      page += "</section>\n"
    }
    return page + "</html>\n"
  }

  /// The words in their places; neighbours of one kind share an element.
  private func body(_ context: CompressedContext, _ text: [UInt8]) -> String {
    let source = context.wordText.isEmpty ? text : context.wordText
    let spaced = !context.wordText.isEmpty
    var out = ""
    var open = ""
    var at = 0
    for word in context.words {
      let start = Int(word.start)
      let end = Int(word.end)
      guard start >= at, end >= start, end <= source.count else { continue }
      let gap = spaced ? " " : String(decoding: source[at..<start], as: UTF8.self).escaped
      let tag = word.isKept ? (word.isForced ? "b" : "") : "del"
      if tag == open {
        out += gap
      } else {
        if !open.isEmpty { out += "</\(open)>" }
        out += gap
        if !tag.isEmpty { out += "<\(tag)>" }
        open = tag
      }
      out += String(decoding: source[start..<end], as: UTF8.self).escaped
      at = end
    }
    if !open.isEmpty { out += "</\(open)>" }
    return out + (spaced ? "" : String(decoding: source[at...], as: UTF8.self).escaped)
  }
}

extension String {
  /// For HTML text and attributes.
  fileprivate var escaped: String {
    var out = ""
    out.reserveCapacity(utf8.count)
    for scalar in unicodeScalars {
      switch scalar {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      case _ where scalar.value < 0x20 && scalar != "\n" && scalar != "\t": out += "\u{fffd}"
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out
  }
}
