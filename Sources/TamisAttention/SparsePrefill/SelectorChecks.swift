import TamisCore
import TamisDevice

// What the methods' numbers must be; the sentences name the fields of tamis_sparse_options.

func checkBlocks(_ queryBlock: Int, _ keyBlock: Int) throws(TamisError) {
  try require(
    queryBlock >= 8 && queryBlock <= 4096 && queryBlock % 8 == 0,
    "query_block is \(queryBlock); expected a multiple of 8 from 8 to 4096")
  try require(
    keyBlock >= 8 && keyBlock <= 4096 && keyBlock % 8 == 0, "key_block is \(keyBlock); expected a multiple of 8 from 8 to 4096")
}

func checkDensity(_ density: Float) throws(TamisError) {
  try require(density > 0 && density <= 1, "density is \(density); expected more than 0 and at most 1")
}

func checkShare(_ share: Float, _ name: String) throws(TamisError) {
  try require(share > 0 && share <= 1, "\(name) is \(share); expected more than 0 and at most 1")
}

func requireCausal(_ input: SparseInput) throws(TamisError) {
  guard input.mask.causal else {
    throw TamisError(.unsupported, "causal is 0; expected 1 (only XAttention and SpargeAttn choose later keys)")
  }
}

func goOn(_ progress: Progress?, _ done: Double) throws(TamisError) {
  if let progress, !progress(done) { throw TamisError(.cancelled, "progress returned 0") }
}

func checkSampledRows(_ rows: Int, atMost limit: Int) throws(TamisError) {
  try require(rows >= 1 && rows <= limit, "sampled_rows is \(rows); expected 1 to \(limit)")
}

func checkHeadCoverage(_ shares: [Float]?) throws(TamisError) {
  for (h, share) in (shares ?? []).enumerated() {
    try require(share >= 0 && share <= 1, "head_coverage[\(h)] is \(share); expected 0 to 1")
  }
}

func requireHeads(_ shares: [Float], _ input: SparseInput) throws(TamisError) {
  try require(
    shares.count == input.heads, "head_coverage has \(shares.count) values; expected \(input.heads), the heads of q")
}
