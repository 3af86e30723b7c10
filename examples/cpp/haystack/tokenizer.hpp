// Byte-level BPE as a published tokenizer.json describes it, for the one arrangement this example needs: GPT-2's byte alphabet
// and split, with every digit on its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace haystack {

class Tokenizer {
 public:
  /// Reads tokenizer.json. Throws std::runtime_error with a sentence when it is missing, malformed or of another arrangement.
  explicit Tokenizer(const std::string &path);

  /// Token ids of UTF-8 text, as the `tokenizers` package gives them. Throws on text that is not UTF-8.
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// The bytes a token stands for.
  const std::string &bytes(std::int32_t id) const { return bytes_.at(static_cast<std::size_t>(id)); }

  std::int32_t size() const { return static_cast<std::int32_t>(bytes_.size()); }

 private:
  using Ids = std::vector<std::int32_t>;
  struct Merge {
    std::int32_t rank, id;
  };

  void encode_plain(std::string_view text, Ids &out) const;
  const Ids &word(std::string_view bytes) const;

  std::vector<std::string> bytes_;
  std::int32_t byte_id_[256];
  std::unordered_map<std::uint64_t, Merge> merges_;                   // (left id, right id) -> rank and id of the pair
  std::vector<std::pair<std::string, std::int32_t>> added_;           // special tokens, found before anything is split
  mutable std::unordered_map<std::string, Ids> words_;                // every word is merged once
};

}  // namespace haystack
