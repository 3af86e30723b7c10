@_exported import TamisCore
@_exported import TamisDevice
@_exported import TamisAttention
