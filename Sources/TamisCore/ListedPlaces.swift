/// A list of key tiles as places 0 ..< count: the tokens of its tiles, one after another. The list is ascending, so the tokens
/// below a limit come first, and the tokens that a query may see are a range of places.
public struct ListedPlaces: @unchecked Sendable {
  /// Ascending, each once, and below ceil(keys / tileKeys).
  public let tiles: UnsafeBufferPointer<Int32>
  public let tileKeys: Int
  public let keys: Int

  @inlinable public init(tiles: UnsafeBufferPointer<Int32>, tileKeys: Int, keys: Int) {
    self.tiles = tiles
    self.tileKeys = tileKeys
    self.keys = keys
  }

  /// The tokens of tile j are [j * tileKeys, min((j + 1) * tileKeys, keys)); only the last tile of all may be short.
  public var count: Int {
    guard let last = tiles.last else { return 0 }
    return (tiles.count - 1) * tileKeys + min(tileKeys, keys - Int(last) * tileKeys)
  }

  /// How many places hold a token before `limit`, which is at most `keys`.
  public func places(before limit: Int) -> Int {
    if limit <= 0 { return 0 }
    let (tile, within) = limit.quotientAndRemainder(dividingBy: tileKeys)
    let before = tilesBelow(tile)
    let holds = before < tiles.count && Int(tiles[before]) == tile
    return before * tileKeys + (holds ? within : 0)
  }

  /// How many tiles of the list are below `tile`.
  @inlinable public func tilesBelow(_ tile: Int) -> Int {
    var low = 0
    var high = tiles.count
    while low < high {
      let middle = (low + high) / 2
      if Int(tiles[middle]) < tile { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The token at a place, and how many of the places from there on, `most` at most, hold consecutive tokens. Places
  /// [place, place + most) are the list's.
  @inlinable public func run(at place: Int, most: Int) -> (token: Int, count: Int) {
    let (first, within) = place.quotientAndRemainder(dividingBy: tileKeys)
    let token = Int(tiles[first]) * tileKeys + within
    var count = tileKeys - within
    var next = first + 1
    while count < most && next < tiles.count && tiles[next] == tiles[next - 1] + 1 {
      count += tileKeys
      next += 1
    }
    return (token, min(count, most))
  }

  /// Whether every token of [low, high) is listed.
  public func holdsAll(_ low: Int, _ high: Int) -> Bool {
    if low >= high { return true }
    let first = low / tileKeys
    let last = (high - 1) / tileKeys
    let at = tilesBelow(first)
    // Ascending and unique: if both ends are where they would be without a gap, all between are there.
    return at < tiles.count && Int(tiles[at]) == first && at + last - first < tiles.count
      && Int(tiles[at + last - first]) == last
  }
}
