// include/tamis/weights.h
import CTamis
import Tamis

@c @implementation public func tamis_weights_open(
  _ path: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<OpaquePointer?>!
) -> tamis_status {
  status { () throws(TamisError) in
    let path = try string(path, "path")
    let out = try need(out, "out")
    out.pointee = Handle.make(try SafeTensors(path: path), .weights)
  }
}

@c @implementation public func tamis_weights_close(_ weights: OpaquePointer!) {
  Handle<SafeTensors>.destroy(weights, .weights)
}

@c @implementation public func tamis_weights_count(_ handle: OpaquePointer!) -> Int64 {
  Int64((try? Handle<SafeTensors>.object(handle, .weights, "weights"))?.names.count ?? 0)
}

@c @implementation public func tamis_weights_name(
  _ handle: OpaquePointer!, _ i: Int64, _ buffer: UnsafeMutablePointer<CChar>!, _ capacity: Int,
  _ needed: UnsafeMutablePointer<Int>!
) -> tamis_status {
  status { () throws(TamisError) in
    let names = try weights(handle).names
    try require(i >= 0 && i < names.count, "i is \(i); expected 0 to \(names.count - 1)")
    try write(names[Int(i)], to: buffer, capacity, needed)
  }
}

@c @implementation public func tamis_weights_get(
  _ handle: OpaquePointer!, _ name: UnsafePointer<CChar>!, _ out: UnsafeMutablePointer<tamis_tensor>!
) -> tamis_status {
  status { () throws(TamisError) in
    let weights = try weights(handle)
    let name = try string(name, "name")
    let out = try need(out, "out")
    out.pointee = tamis_tensor(try weights.tensor(name))
  }
}

extension tamis_tensor {
  fileprivate init(_ view: TensorView) {
    self.init()
    data = view.data
    dtype = view.dtype.rawValue
    ndim = Int32(view.ndim)
    withUnsafeMutableBytes(of: &shape) { fill($0, view.shape, view.ndim) }
    withUnsafeMutableBytes(of: &stride) { fill($0, view.stride, view.ndim) }
  }
}

private func fill(_ bytes: UnsafeMutableRawBufferPointer, _ values: InlineArray<6, Int>, _ n: Int) {
  let fields = bytes.bindMemory(to: Int64.self)
  for i in 0..<n { fields[i] = Int64(values[i]) }
}
