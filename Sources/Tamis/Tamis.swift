// What `import Tamis` gives: the domains, re-exported, and calls that take arrays and spans instead of tensor views.
@_exported import TamisAttention
@_exported import TamisCore
@_exported import TamisDevice
@_exported import TamisMetrics
@_exported import TamisText
