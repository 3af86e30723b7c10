import ArgumentParser
import Tamis

struct Info: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print what this build is and what it found on this machine.",
    discussion: "Instruction sets, OpenBLAS, zstd and OpenCL devices: what tamis_build_info gives a program.")

  @Flag(help: "Print the JSON object instead.")
  var json = false

  func run() {
    print(json ? BuildInfo.report.text : BuildInfo.report.outline())
  }
}

extension JSON {
  /// Indented lines "name: value"; an array of plain values stays on its line.
  func outline(indent: Int = 0) -> String {
    let margin = String(repeating: " ", count: indent)
    switch self {
    case .object(let members):
      return members.map { member in
        member.value.isPlain
          ? "\(margin)\(member.name): \(member.value.plain)"
          : "\(margin)\(member.name):\n\(member.value.outline(indent: indent + 2))"
      }.joined(separator: "\n")
    case .array(let values):
      return values.map { value in
        // the first line of an item carries its dash
        "\(margin)- \(value.outline(indent: indent + 2).drop { $0 == " " })"
      }.joined(separator: "\n")
    default: return margin + plain
    }
  }

  private var isPlain: Bool {
    switch self {
    case .object(let members): members.isEmpty
    case .array(let values): values.allSatisfy(\.isPlain)
    default: true
    }
  }

  private var plain: String {
    switch self {
    case .null: "none"
    case .bool(let value): value ? "yes" : "no"
    case .string(let value): value.isEmpty ? "unknown" : value
    case .array(let values): values.isEmpty ? "none" : values.map(\.plain).joined(separator: ", ")
    default: text
    }
  }
}
