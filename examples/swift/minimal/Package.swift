// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "minimal",
  dependencies: [.package(name: "tamis", path: "../../..")],
  targets: [.executableTarget(name: "minimal", dependencies: [.product(name: "Tamis", package: "tamis")])]
)
