import ArgumentParser
import Tamis

struct Weights: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the tensors of a safetensors file.", discussion: "Name, dtype, shape and bytes, in the order of the data.")

  @Argument(help: "A safetensors file.", completion: .file())
  var file: String

  func run() throws {
    try reportingErrors { () throws(TamisError) in
      let tensors = try SafeTensors(path: file)
      var rows: [[String]] = []
      var total = 0
      for name in tensors.names {
        let row: [String]
        do throws(TamisError) {
          let tensor = try tensors.tensor(name)
          let shape = (0..<tensor.ndim).map { tensor.shape[$0] }
          let bytes = shape.reduce(tensor.dtype.size, *)
          total += bytes
          row = [name, tensor.dtype.name, "[\(shape.map(String.init).joined(separator: ", "))]", "\(bytes)"]
        } catch {
          // a dtype this library does not read is no reason not to list the others
          guard error.status == .unsupported else { throw error }
          row = [name, "unsupported", "", ""]
        }
        rows.append(row)
      }
      let width = (0..<4).map { column in rows.map { $0[column].count }.max() ?? 0 }
      for row in rows {
        print(
          (0..<3).map { row[$0] + String(repeating: " ", count: width[$0] - row[$0].count) }.joined(separator: "  "), row[3],
          separator: "  ")
      }
      print("\(rows.count) tensors, \(total) bytes")
    }
  }
}
