#include "tokenizer.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace haystack {
namespace {

struct Range {
  std::uint32_t low, high;
};
#include "unicode_ranges.inc"

template <std::size_t N>
bool contains(const Range (&ranges)[N], std::uint32_t c) {
  const Range *r = std::lower_bound(std::begin(ranges), std::end(ranges), c, [](Range a, std::uint32_t x) { return a.high < x; });
  return r != std::end(ranges) && r->low <= c;
}

bool is_space(std::uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

enum class Kind { letter, number, space, other };

Kind kind_of(std::uint32_t c) {
  if (c < 128) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return Kind::letter;
    if (c >= '0' && c <= '9') return Kind::number;
    return is_space(c) ? Kind::space : Kind::other;
  }
  if (is_space(c)) return Kind::space;
  if (contains(kLetters, c)) return Kind::letter;
  return contains(kNumbers, c) ? Kind::number : Kind::other;
}

/// The code point at `at`, and the offset after it. Overlong forms, surrogates and stray bytes are errors.
std::uint32_t decode(std::string_view text, std::size_t at, std::size_t &next) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  std::uint32_t c = length == 1 ? lead : length == 2 ? lead & 0x1fu : length == 3 ? lead & 0x0fu : lead & 0x07u;
  bool valid = length != 0 && at + length <= text.size();
  for (std::size_t i = 1; valid && i < length; ++i) {
    valid = (byte(at + i) & 0xc0) == 0x80;
    c = c << 6 | (byte(at + i) & 0x3fu);
  }
  if (valid && length == 3) valid = c >= 0x800 && (c < 0xd800 || c > 0xdfff);
  if (valid && length == 4) valid = c >= 0x10000 && c <= 0x10ffff;
  if (!valid) throw std::runtime_error("text is not UTF-8 at byte " + std::to_string(at));
  next = at + length;
  return c;
}

struct Char {
  std::size_t at;
  std::uint32_t point;
  Kind kind;
};

/// End of the word that GPT-2's pattern finds at character i of [i, n); chars[n].at is the end of the text.
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t word_end(const std::vector<Char> &chars, std::size_t i, std::size_t n) {
  const auto is = [&](std::size_t j, char c) { return j < n && chars[j].point == static_cast<unsigned char>(c); };
  if (is(i, '\'')) {
    if (is(i + 1, 's') || is(i + 1, 't') || is(i + 1, 'm') || is(i + 1, 'd')) return i + 2;
    if ((is(i + 1, 'r') && is(i + 2, 'e')) || (is(i + 1, 'v') && is(i + 2, 'e')) || (is(i + 1, 'l') && is(i + 2, 'l'))) return i + 3;
  }
  const auto run_end = [&](std::size_t j) {
    const Kind kind = chars[j].kind;
    while (j < n && chars[j].kind == kind) ++j;
    return j;
  };
  if (chars[i].kind != Kind::space) return run_end(i);
  if (is(i, ' ') && i + 1 < n && chars[i + 1].kind != Kind::space) return run_end(i + 1);
  // a run of white space leaves its last character to the word that follows, if one does and something stays
  const std::size_t end = run_end(i);
  return end == n || end == i + 1 ? end : end - 1;
}

std::uint64_t pair_key(std::int32_t a, std::int32_t b) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(a)) << 32 | static_cast<std::uint32_t>(b);
}

/// GPT-2's byte alphabet: printable Latin-1 bytes stand for themselves, the others for U+0100 and on.
std::unordered_map<std::uint32_t, unsigned char> byte_of_char() {
  std::unordered_map<std::uint32_t, unsigned char> table;
  std::uint32_t spare = 256;
  for (unsigned b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    table[printable ? b : spare++] = static_cast<unsigned char>(b);
  }
  return table;
}

void require(bool condition, const std::string &path, const char *what) {
  if (!condition) throw std::runtime_error(path + ": " + what);
}

}  // namespace

Tokenizer::Tokenizer(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  require(static_cast<bool>(file), path, "cannot be opened");
  try {
    const auto json = nlohmann::json::parse(file);
    const auto &model = json.at("model");
    require(model.at("type") == "BPE", path, "model.type is not BPE");
    const auto none = [&](const nlohmann::json &in, const char *name) { return !in.contains(name) || in[name].is_null() || in[name] == false || in[name] == ""; };
    for (const char *name : {"unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "dropout"})
      require(none(model, name), path, "sets a BPE option that this example does not implement");
    require(none(json, "normalizer") && none(json, "post_processor"), path, "has a normalizer or post-processor; expected none");
    const auto &splits = json.at("pre_tokenizer").at("pretokenizers");
    require(splits.size() == 2 && splits[0].at("type") == "Digits" && splits[0].at("individual_digits") == true &&
                splits[1].at("type") == "ByteLevel" && splits[1].at("add_prefix_space") == false && splits[1].value("use_regex", true),
            path, "has another pre_tokenizer; expected single digits, then ByteLevel without a prefix space");

    std::unordered_map<std::string, std::int32_t> id_of;
    const auto &vocabulary = model.at("vocab");
    bytes_.resize(vocabulary.size());
    for (const auto &[spelling, id] : vocabulary.items()) {
      const auto i = id.get<std::int64_t>();
      require(i >= 0 && i < static_cast<std::int64_t>(bytes_.size()), path, "has a vocabulary with ids outside 0 .. size - 1");
      id_of[spelling] = static_cast<std::int32_t>(i);
    }
    for (const auto &token : json.value("added_tokens", nlohmann::json::array())) {
      const auto content = token.at("content").get<std::string>();
      const auto found = id_of.find(content);
      require(found != id_of.end() && !content.empty(), path, "has an added token that is not in the vocabulary");
      added_.emplace_back(content, found->second);
      bytes_[static_cast<std::size_t>(found->second)] = content;
    }

    const auto alphabet = byte_of_char();
    std::fill(std::begin(byte_id_), std::end(byte_id_), -1);
    for (const auto &[spelling, id] : id_of) {
      if (!bytes_[static_cast<std::size_t>(id)].empty()) continue;
      std::string bytes;
      for (std::size_t at = 0; at < spelling.size();) {
        const auto found = alphabet.find(decode(spelling, at, at));
        require(found != alphabet.end(), path, "has a token outside the byte alphabet");
        bytes += static_cast<char>(found->second);
      }
      if (bytes.size() == 1) byte_id_[static_cast<unsigned char>(bytes[0])] = id;
      bytes_[static_cast<std::size_t>(id)] = std::move(bytes);
    }
    require(std::find(std::begin(byte_id_), std::end(byte_id_), -1) == std::end(byte_id_), path, "lacks a byte of the alphabet");

    std::int32_t rank = 0;
    for (const auto &merge : model.at("merges")) {
      std::string left, right;
      if (merge.is_string()) {  // the older spelling, "left right"
        const auto both = merge.get<std::string>();
        const auto space = both.find(' ');
        require(space != std::string::npos, path, "has a merge that is not a pair");
        left = both.substr(0, space), right = both.substr(space + 1);
      } else {
        left = merge.at(0), right = merge.at(1);
      }
      const auto l = id_of.find(left), r = id_of.find(right), both = id_of.find(left + right);
      require(l != id_of.end() && r != id_of.end() && both != id_of.end(), path, "has a merge of tokens that are not in the vocabulary");
      merges_.emplace(pair_key(l->second, r->second), Merge{rank++, both->second});
    }
  } catch (const nlohmann::json::exception &e) {
    throw std::runtime_error(path + ": not a tokenizer this example can read (" + e.what() + ")");
  }
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  Ids out;
  while (!text.empty()) {
    std::size_t first = std::string_view::npos;
    const std::pair<std::string, std::int32_t> *special = nullptr;
    for (const auto &token : added_) {
      const auto at = text.find(token.first);
      if (at < first) first = at, special = &token;
    }
    encode_plain(text.substr(0, first), out);
    if (!special) break;
    out.push_back(special->second);
    text.remove_prefix(first + special->first.size());
  }
  return out;
}

void Tokenizer::encode_plain(std::string_view text, Ids &out) const {
  std::vector<Char> chars;
  chars.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const std::uint32_t point = decode(text, at, at);
    chars.push_back({begin, point, kind_of(point)});
  }
  const std::size_t count = chars.size();
  chars.push_back({text.size(), 0, Kind::other});
  for (std::size_t i = 0; i < count;) {
    // digits come off first, so that GPT-2's pattern sees each stretch between them as a text of its own
    std::size_t end = i;
    while (end < count && chars[end].kind != Kind::number) ++end;
    if (end == i) ++end;
    while (i < end) {
      const std::size_t next = word_end(chars, i, end);
      const Ids &ids = word(text.substr(chars[i].at, chars[next].at - chars[i].at));
      out.insert(out.end(), ids.begin(), ids.end());
      i = next;
    }
  }
}

const Tokenizer::Ids &Tokenizer::word(std::string_view bytes) const {
  const auto [found, fresh] = words_.try_emplace(std::string(bytes));
  Ids &ids = found->second;
  if (!fresh) return ids;
  for (const char b : bytes) ids.push_back(byte_id_[static_cast<unsigned char>(b)]);
  for (;;) {  // the pair of lowest rank is merged first, the leftmost of equals
    const Merge *best = nullptr;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto merge = merges_.find(pair_key(ids[i], ids[i + 1]));
      if (merge != merges_.end() && (!best || merge->second.rank < best->rank)) best = &merge->second, place = i;
    }
    if (!best) return ids;
    ids[place] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
}

}  // namespace haystack
