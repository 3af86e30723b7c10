import CShims

#if canImport(Glibc)
import Glibc
#endif

/// The SIMD inner loops of one instruction-set level, and the choice among levels (docs/dispatch.md).
public enum Kernels {
  public enum Level: Int, CaseIterable, Sendable {
    #if arch(x86_64)
    case v2 = 0
    case v3, v4, v4x
    #else
    case neon = 0
    #endif

    public var name: String { "\(self)" }
  }

  /// Levels this machine can run, lowest first.
  public static let available: [Level] = {
    let top = Int(ts_cpu_level())
    return Level.allCases.filter { $0.rawValue <= max(top, 0) }
  }()

  /// The highest available level, or the one `TAMIS_ISA` names if the machine has it.
  public static let activeLevel: Level = {
    let top = available.last!
    guard let wanted = getenv("TAMIS_ISA").map({ String(cString: $0) }) else { return top }
    return available.first { $0.name == wanted } ?? top
  }()

  /// The table of an available level; for tests and benchmarks that compare levels. The memory lives as long as the process.
  public static func table(_ level: Level) -> UnsafePointer<tk_table> { UnsafePointer(tables + level.rawValue) }

  nonisolated(unsafe) public static let active: UnsafePointer<tk_table> = table(activeLevel)

  nonisolated(unsafe) private static let tables: UnsafeMutablePointer<tk_table> = {
    let tables = UnsafeMutableRawPointer.allocate(
      byteCount: Level.allCases.count * MemoryLayout<tk_table>.stride, alignment: 64
    ).assumingMemoryBound(to: tk_table.self)
    // Filling a table already takes the level's instructions: constants are stored by its vectors.
    for level in available {
      let table = tables + level.rawValue
      #if arch(x86_64)
      switch level {
      case .v2: tk_fill_v2(table)
      case .v3: tk_fill_v3(table)
      case .v4: tk_fill_v4(table)
      case .v4x: tk_fill_v4x(table)
      }
      #else
      tk_fill_neon(table)
      #endif
    }
    return tables
  }()
}
