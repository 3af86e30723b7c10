// swift-tools-version: 6.2
// The one build definition: CMake and the Makefile call SwiftPM. Layers as in docs/architecture.md: arrows point down only.
import PackageDescription

// One kernel source, built once per instruction-set level through folders of symlinks; `KernelTable` picks a level at run time.
#if arch(x86_64)
let levels: [(name: String, flags: [String])] = [
  ("V2", ["-march=x86-64-v2"]),
  ("V3", ["-march=x86-64-v3"]),
  ("V4", ["-march=x86-64-v4"]),
  ("V4X", ["-march=x86-64-v4", "-mavx512vnni", "-mavx512bf16"]),
]
#else
let levels: [(name: String, flags: [String])] = [("NEON", [])]
#endif

let kernels: [Target] = levels.map { level in
  .target(
    name: "Kernels\(level.name)", dependencies: ["CShims"], exclude: ["generate_micro_tile.py", "generate_linear_tile.py"],
    swiftSettings: [
      .define("ISA_\(level.name)"),
      .unsafeFlags(["-Ounchecked"] + level.flags.flatMap { ["-Xcc", $0] }),
    ])
}

// Glue, not inner loops: built for size.
let small: [SwiftSetting] = [.unsafeFlags(["-Osize"], .when(configuration: .release))]

// Tests whose oracles are long loops: without the optimiser they take minutes. Debug is the only way they are built.
let oracles: [SwiftSetting] = [.unsafeFlags(["-O"], .when(configuration: .debug))]

let exportMap = Context.packageDirectory + "/abi/tamis.map"

// A copy of the static Swift runtime from which the linker may drop what nobody calls; cmake/library.sh makes it.
let runtime = [Context.environment["TAMIS_RUNTIME"] ?? ""].filter { !$0.isEmpty }

let package = Package(
  name: "tamis",
  products: [
    .library(name: "tamis", type: .dynamic, targets: ["TamisABI"]),
    .library(name: "Tamis", targets: ["Tamis"]),
    .executable(name: "tamis-cli", targets: ["tamis-cli"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
  ],
  targets: kernels + [
    .target(name: "CTamis", path: "include", publicHeadersPath: "."),
    .target(name: "CRuntime"),
    .target(
      name: "CShims", cSettings: [.define("_GNU_SOURCE")],
      linkerSettings: [.linkedLibrary("zstd"), .linkedLibrary("m"), .linkedLibrary("dl")]),
    .target(
      name: "TamisCore",
      dependencies: ["CShims"] + levels.map { .target(name: "Kernels\($0.name)") }),
    .target(
      name: "TamisDevice", dependencies: ["TamisCore", "CShims"],
      exclude: ["OpenCL/Kernels", "OpenCL/embed_kernels.py"], swiftSettings: small),
    .target(name: "TamisAttention", dependencies: ["TamisCore", "TamisDevice", "CShims"], swiftSettings: small),
    .target(
      name: "TamisText", dependencies: ["TamisCore", "TamisDevice", "CShims"],
      exclude: ["Unicode/generate_tables.py", "Unicode/newer_characters.py", "Unicode/newer_characters.txt"], swiftSettings: small),
    // For size as well: its inner loops carry @_optimize(speed). Their classes are used by one thread each, so checks of
    // exclusive access are left to the debug build.
    .target(
      name: "TamisMetrics", dependencies: ["TamisCore", "TamisDevice", "CShims"],
      swiftSettings: small + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]),
    .target(
      name: "Tamis", dependencies: ["TamisCore", "TamisDevice", "TamisAttention", "TamisText", "TamisMetrics", "CShims"]),
    .target(
      name: "TamisABI",
      dependencies: [
        "CTamis", "CShims", "Tamis", .target(name: "CRuntime", condition: .when(platforms: [.linux])),
      ],
      swiftSettings: small,
      linkerSettings: [
        .unsafeFlags(
          runtime + [
            // lld, as gold leaves local symbols of ours in the dynamic table; abi/link makes libstdc++ and zstd static.
            "-static-stdlib", "-use-ld=lld", "-L\(Context.packageDirectory)/abi/link", "-Xlinker", "--as-needed",
            "-Xlinker", "--gc-sections", "-Xlinker", "--icf=all",
            "-Xlinker", "--wrap=_swift_stdlib_getScalarName", "-Xlinker", "--wrap=_swift_stdlib_getNameAlias",
            "-Xlinker", "--version-script=\(exportMap)",
            "-Xlinker", "-soname=libtamis.so.0", "-Xclang-linker", "-static-libgcc",
          ], .when(platforms: [.linux], configuration: .release))
      ]),
    .executableTarget(
      name: "tamis-cli",
      dependencies: ["Tamis", "CShims", .product(name: "ArgumentParser", package: "swift-argument-parser")],
      path: "Sources/tamis"),
    .executableTarget(
      name: "tamis-bench-decode", dependencies: ["TamisDevice", "TamisCore", "CShims"], path: "Benchmarks/decode"),
    .executableTarget(
      name: "tamis-bench-encoder", dependencies: ["TamisDevice", "TamisCore", "CShims"], path: "Benchmarks/encoder",
      exclude: ["compare.py"]),
    .testTarget(name: "TamisCoreTests", dependencies: ["TamisCore", "CShims"]),
    .testTarget(name: "TamisDeviceTests", dependencies: ["TamisDevice", "TamisCore", "CShims"], swiftSettings: oracles),
    .testTarget(name: "TamisOpenCLTests", dependencies: ["TamisDevice", "TamisCore", "CShims"]),
    .testTarget(name: "TamisAttentionTests", dependencies: ["Tamis"], swiftSettings: oracles),
    .testTarget(name: "TamisTextTests", dependencies: ["TamisText", "TamisDevice", "TamisCore"]),
    .testTarget(name: "TamisMetricsTests", dependencies: ["TamisMetrics", "TamisDevice", "TamisCore"]),
  ]
)
