import CShims
import TamisCore

/// The version of this library: `tamis_version`, and TAMIS_VERSION_* of the headers.
public let libraryVersion: StaticString = "0.1.0"

/// What `tamis_build_info` tells: this build, and what it found on this machine.
public enum BuildInfo {
  public static var report: JSON {
    JSON.object([
      ("version", .string("\(libraryVersion)")),
      ("commit", .string(string(ts_build_commit()))),
      ("compiler", .string(string(ts_build_compiler()))),
      (
        "isa",
        .object([
          ("compiled", .strings(Kernels.Level.allCases.map(\.name))),
          ("available", .strings(Kernels.available.map(\.name))),
          ("active", .string(Kernels.activeLevel.name)),
        ])
      ),
      ("openblas", openBLAS()),
      ("zstd", .string(string(ts_zstd_version()))),
      ("opencl", openCL()),
    ])
  }

  private static func string(_ text: UnsafePointer<CChar>?) -> String { text.map { String(cString: $0) } ?? "" }

  private static func openBLAS() -> JSON {
    let config = OpenBLASReport.config
    return .object([("found", .bool(config != nil)), ("config", .optional(config))])
  }

  private static func openCL() -> JSON {
    let devices = OpenCLReport.devices
    return .object([
      ("found", .bool(!devices.isEmpty)),
      (
        "devices",
        .array(
          devices.map { device in
            .object([
              ("name", .string(device.name)), ("version", .string(device.version)), ("driver", .string(device.driver)),
              ("type", .string(device.type)), ("compute_units", .number(device.computeUnits)),
              ("global_memory_bytes", .number(device.globalMemoryBytes)), ("f16", .bool(device.f16)),
            ])
          })
      ),
    ])
  }
}

/// The two reports a device layer plugs into.
enum OpenBLASReport {
  /// `openblas_get_config()`; nil when there is no OpenBLAS to load.
  static var config: String? { nil }
}

enum OpenCLReport {
  struct Device {
    var name, version, driver, type: String
    var computeUnits, globalMemoryBytes: Int
    var f16: Bool
  }
  /// The devices of all platforms, in the order `opencl_index` counts them.
  static var devices: [Device] { [] }
}
