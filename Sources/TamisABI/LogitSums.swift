// include/tamis/logit_metrics.h: what is made of sums, temperature, windows
import CTamis
import Tamis

#if canImport(Glibc)
import Glibc
#endif

@c @implementation public func tamis_perplexity(_ nll: Double, _ units: Double) -> Double {
  units > 0 ? exp(nll / units) : .nan
}

@c @implementation public func tamis_bits_per_unit(_ nll: Double, _ units: Double) -> Double {
  units > 0 ? nll / (log(2) * units) : .nan
}

private func norm(_ value: tamis_calibration_norm) throws(TamisError) -> Calibration.Norm {
  try choice(value, "norm", Calibration.Norm.self, "TAMIS_CALIBRATION_L1, TAMIS_CALIBRATION_L2 or TAMIS_CALIBRATION_MAX")
}

private func binCount(_ value: Int32) throws(TamisError) -> Int {
  try require(value >= 1 && value <= 65536, "n_bins is \(value); expected 1 to 65536")
  return Int(value)
}

@c @implementation public func tamis_calibration_error(
  _ bins: UnsafePointer<Double>!, _ nBins: Int32, _ norm: tamis_calibration_norm, _ error: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let n = try binCount(nBins)
    let norm = try TamisABI.norm(norm)
    let triples = try array(bins, 3 * (n + 1), "bins")
    for i in triples.indices {
      try require(
        triples[i] >= 0 && triples[i] <= 0x1p62, "bins[\(i / 3)][\(i % 3)] is \(triples[i]); expected 0 to 2^62")
    }
    let error = try need(error, "error")
    error.pointee = Calibration.error(triples, norm: norm)
  }
}

@c @implementation public func tamis_adaptive_calibration_error(
  _ confidence: UnsafePointer<Float>!, _ correct: UnsafePointer<UInt8>!, _ n: Int64, _ nBins: Int32,
  _ norm: tamis_calibration_norm, _ error: UnsafeMutablePointer<Double>!
) -> tamis_status {
  status { () throws(TamisError) in
    let count = try TamisABI.count(n, "n")
    let bins = try binCount(nBins)
    let norm = try TamisABI.norm(norm)
    let confidence = try array(confidence, count, "confidence")
    let correct = try array(correct, count, "correct")
    for i in 0..<count {
      try require(
        confidence[i] >= 0 && confidence[i] <= 1, "confidence[\(i)] is \(confidence[i]); expected 0 to 1")
      try require(correct[i] <= 1, "correct[\(i)] is \(correct[i]); expected 0 or 1")
    }
    let error = try need(error, "error")
    error.pointee = Calibration.adaptiveError(confidence, correct: correct, bins: bins, norm: norm)
  }
}

@c @implementation public func tamis_fit_temperature(
  _ handle: OpaquePointer!, _ options: UnsafePointer<tamis_logit_options>!, _ logits: UnsafePointer<tamis_tensor>!,
  _ targets: UnsafePointer<Int32>!, _ temperature: UnsafeMutablePointer<Double>!, _ nll: UnsafeMutablePointer<Double>!,
  _ passes: UnsafeMutablePointer<Int32>!
) -> tamis_status {
  status { () throws(TamisError) in
    let context = try context(handle)
    let options = try LogitOptions(options)
    let (rows, _) = try logitRows(logits, "logits")
    _ = try need(targets, "targets")
    let ids = try checkedTargets(targets, rows, ignore: options.raw.ignore_index)!
    let temperature = try need(temperature, "temperature")
    let nll = try allow(nll, "nll")
    let passes = try allow(passes, "passes")
    let answer = try ids.withUnsafeBufferPointer { buffer throws(TamisError) in
      let job = LogitJob(rows, targets: buffer.baseAddress, needs: .allMoments)
      return try TemperatureFit.run(
        job, from: options.raw.temperature, context: context, progress: options.progress)
    }
    temperature.pointee = answer.temperature
    nll?.pointee = answer.nll
    passes?.pointee = Int32(truncatingIfNeeded: answer.passes)
  }
}

private func windows(_ tokens: Int64, _ window: Int64, _ stride: Int64) throws(TamisError) -> SlidingWindows {
  try require(tokens >= 0 && tokens <= 1 << 48, "tokens is \(tokens); expected 0 to 2^48")
  try require(window >= 1 && window <= 1 << 48, "window is \(window); expected 1 to 2^48")
  try require(stride >= 1 && stride <= window, "stride is \(stride); expected 1 to window, \(window)")
  return SlidingWindows(tokens: Int(tokens), window: Int(window), stride: Int(stride))
}

@c @implementation public func tamis_sliding_window_count(
  _ tokens: Int64, _ window: Int64, _ stride: Int64, _ count: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let windows = try windows(tokens, window, stride)
    let count = try need(count, "count")
    count.pointee = Int64(windows.count)
  }
}

@c @implementation public func tamis_sliding_window(
  _ tokens: Int64, _ window: Int64, _ stride: Int64, _ index: Int64, _ begin: UnsafeMutablePointer<Int64>!,
  _ scored: UnsafeMutablePointer<Int64>!, _ end: UnsafeMutablePointer<Int64>!
) -> tamis_status {
  status { () throws(TamisError) in
    let windows = try windows(tokens, window, stride)
    try require(
      index >= 0 && index < Int64(windows.count), "index is \(index); expected 0 to less than \(windows.count) windows")
    let begin = try need(begin, "begin")
    let scored = try need(scored, "scored")
    let end = try need(end, "end")
    let found = windows[Int(index)]
    begin.pointee = Int64(found.seen.lowerBound)
    scored.pointee = Int64(found.scored.lowerBound)
    end.pointee = Int64(found.seen.upperBound)
  }
}
