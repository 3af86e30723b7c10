import CShims
public import TamisCore
import TamisDevice

/// The version of this library: `tamis_version`, and TAMIS_VERSION_* of the headers.
public let libraryVersion: StaticString = "0.1.0"

/// What `tamis_build_info` tells: this build, and what it found on this machine.
public enum BuildInfo {
  public static var report: JSON {
    .members([
      "version": .string("\(libraryVersion)"),
      "commit": .string(string(ts_build_commit())),
      "compiler": .string(string(ts_build_compiler())),
      "isa": .members([
        "compiled": .strings(Kernels.Level.allCases.map(\.name)),
        "available": .strings(Kernels.available.map(\.name)),
        "active": .string(Kernels.activeLevel.name),
      ]),
      "openblas": openBLAS(),
      "zstd": .string(string(ts_zstd_version())),
      "opencl": openCL(),
    ])
  }

  private static func string(_ text: UnsafePointer<CChar>?) -> String { text.map { String(cString: $0) } ?? "" }

  private static func openBLAS() -> JSON {
    let config = OpenBLAS.config
    return .members(["found": .bool(config != nil), "config": .optional(config)])
  }

  /// A driver that fails to describe its devices counts as none: build info must not fail.
  private static func openCL() -> JSON {
    let devices = (try? OpenCLDevices.list()) ?? []
    return .members(["found": .bool(!devices.isEmpty), "devices": .array(devices.map(describe))])
  }

  private static func describe(_ device: OpenCLDeviceInfo) -> JSON {
    .members([
      "name": .string(device.name), "version": .string(device.version), "driver": .string(device.driver),
      "type": .string(device.type), "compute_units": .integer(Int64(device.computeUnits)),
      "global_memory_bytes": .integer(Int64(clamping: device.globalMemoryBytes)), "f16": .bool(device.f16),
    ])
  }
}
