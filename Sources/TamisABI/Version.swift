import CTamis

@c @implementation public func tamis_version_number() -> UInt32 {
  UInt32(TAMIS_VERSION_MAJOR * 1_000_000 + TAMIS_VERSION_MINOR * 1000 + TAMIS_VERSION_PATCH)
}
