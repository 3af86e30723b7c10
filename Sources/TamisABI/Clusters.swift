// include/tamis/clusters.h
import CTamis
import Tamis

extension tamis_cluster_options: VersionedStruct {
  static var firstSize: Int { 56 }
  static var defaults: Self {
    Self(
      struct_size: currentSize, k: 4, restarts: 10, max_iterations: 300, tolerance: 1e-4, seed: 0, normalise: 1, reserved: 0,
      progress: nil, progress_user: nil)
  }
}

extension tamis_cluster_report: VersionedStruct {
  static var firstSize: Int { 32 }
  static var defaults: Self { Self() }
}

@c @implementation public func tamis_cluster_options_init(_ options: UnsafeMutablePointer<tamis_cluster_options>!) {
  options?.initialize(to: .defaults)
}

extension CRAG.Options {
  init(_ raw: tamis_cluster_options) throws(TamisError) {
    self.init()
    let k = try count(raw.k, "options->k")
    self.k = k == 0 ? nil : k
    restarts = try count(raw.restarts, "options->restarts", from: 1)
    maxIterations = try count(raw.max_iterations, "options->max_iterations", from: 1)
    tolerance = raw.tolerance
    seed = raw.seed
    normalise = try flag(raw.normalise, "options->normalise")
    try require(raw.reserved == 0, "options->reserved is \(raw.reserved); expected 0")
  }
}

@c @implementation public func tamis_cluster(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_cluster_options>!, _ points: UnsafePointer<tamis_tensor>!,
  _ labels: UnsafeMutablePointer<Int32>!, _ order: UnsafeMutablePointer<Int32>!, _ offsets: UnsafeMutablePointer<Int32>!,
  _ centres: UnsafePointer<tamis_tensor>!, _ report: UnsafeMutablePointer<tamis_cluster_report>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let raw = try read(options, "options")
    let options = try CRAG.Options(raw)
    let points = try tensor(points, "points", TensorRule(dtypes: .floats, ndim: 2...2))
    let (n, d) = (points.view.shape[0], points.view.shape[1])
    let most = min(n, options.k ?? CRAG.largestAutomaticK)
    let labels = try room(labels, n, "labels")
    let order = order == nil ? nil : try room(order, n, "order")
    let offsets = offsets == nil ? nil : try room(offsets, most + 1, "offsets")
    let centres = try optionalTensor(
      centres, "centres", TensorRule(dtypes: .f32, ndim: 2...2, contiguousRows: true, output: true))
    if let centres {
      try require(
        centres.view.shape[0] >= most && centres.view.shape[1] == d,
        "centres is \(centres.view.dims); expected at least [\(most), \(d)]")
      try requireApart(centres, points)
    }
    if report != nil { try checkOutput(report, "report") }
    let found = try CRAG.cluster(
      points.view, options, context: context, progress: progress(raw.progress, raw.progress_user))
    fill(labels, found.labels)
    if let order { fill(order, found.order) }
    if let offsets { fill(offsets, found.offsets) }
    if let view = centres?.view {
      for c in 0..<found.k {
        let row = (view.data + c * view.stride[0] * 4).assumingMemoryBound(to: Float.self)
        for j in 0..<d { row[j] = found.centres[c * d + j] }
      }
    }
    if let report {
      write(
        tamis_cluster_report(
          struct_size: 0, k: Int32(clamping: found.k), iterations: Int32(clamping: found.iterations),
          converged: found.hasConverged ? 1 : 0, inertia: found.inertia, silhouette: found.silhouette ?? .nan),
        to: report)
    }
  }
}

@c @implementation public func tamis_representatives(
  _ order: UnsafePointer<Int32>!, _ offsets: UnsafePointer<Int32>!, _ k: Int32, _ costs: UnsafePointer<Int32>!,
  _ budget: Int64, _ indices: UnsafeMutablePointer<Int32>!, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let k = try TamisABI.count(k, "k")
    let count = try need(count, "count")
    let offsets = try array(offsets, k + 1, "offsets")
    try require(offsets[0] == 0, "offsets[0] is \(offsets[0]); expected 0")
    for c in 0..<k {
      try require(
        offsets[c + 1] > offsets[c], "offsets[\(c + 1)] is \(offsets[c + 1]) after \(offsets[c]); expected ascending offsets")
    }
    let n = Int(offsets[k])
    let order = try array(order, n, "order")
    var isSeen = [Bool](repeating: false, count: n)
    for place in 0..<n {
      let row = order[place]
      try require(
        row >= 0 && Int(row) < n && !isSeen[Int(row)], "order[\(place)] is \(row); expected each row of 0 to \(n - 1) once")
      isSeen[Int(row)] = true
    }
    if costs != nil {
      let costs = try array(costs, n, "costs")
      for i in 0..<n { try require(costs[i] >= 0, "costs[\(i)] is \(costs[i]); expected at least 0") }
    }
    try require(budget >= 0, "budget is \(budget); expected at least 0")
    try write(
      CRAG.representatives(order: order, offsets: offsets, costs: costs, budget: Int(budget)), to: indices, count)
  }
}
