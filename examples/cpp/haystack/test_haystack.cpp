// Tests of the parts that need no model: tokenizer, haystacks, interval. The tokenizer is a small one, written here, whose merges
// tell where words were split; what it must give follows by hand from GPT-2's pattern. Prints "N passed, N failed".
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "table.hpp"
#include "tokenizer.hpp"
#include "trial.hpp"

namespace {

using namespace haystack;

int passed = 0, failed = 0;

void expect(bool condition, const std::string &what) {
  condition ? ++passed : ++failed;
  if (!condition) std::cerr << "failed: " << what << '\n';
}

std::string utf8(unsigned c) {
  if (c < 0x80) return {static_cast<char>(c)};
  return {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 0x3f))};
}

/// How GPT-2 spells a byte.
std::string spell(int byte) {
  int spare = 256;
  for (int b = 0; b <= byte; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    if (b == byte) return utf8(static_cast<unsigned>(printable ? b : spare));
    if (!printable) ++spare;
  }
  return {};
}

std::string spell(const std::string &bytes) {
  std::string out;
  for (const char b : bytes) out += spell(static_cast<unsigned char>(b));
  return out;
}

/// "<s>", the bytes, the pairs below in order of rank, and whole words that no merge makes.
nlohmann::json description() {
  const std::vector<std::pair<std::string, std::string>> pairs{
      {" ", "a"}, {"a", "a"}, {" ", " "}, {"'", "s"}, {"1", "1"}, {" ", "1"}, {"!", "!"}, {" ", "!"}, {"\n", "\n"},
      {"\xa9", "a"}, {"\xbd", "a"}, {" ", "k"}, {" k", "e"}, {" ke", "y"}, {"s", "a"}};
  nlohmann::json vocabulary{{"<s>", 0}}, merges = nlohmann::json::array();
  int id = 1;
  for (int b = 0; b < 256; ++b) vocabulary[spell(b)] = id++;
  for (const auto &[left, right] : pairs) {
    vocabulary[spell(left + right)] = id++;
    merges.push_back({spell(left), spell(right)});
  }
  for (char c = 'a'; c <= 'z'; ++c)
    for (char d = 'a'; d <= 'c'; ++d) vocabulary[spell(std::string(" word") + c + d)] = id++;
  return {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}},
          {"added_tokens", {{{"id", 0}, {"content", "<s>"}}}},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Digits"}, {"individual_digits", true}}, {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}}};
}

class File {
 public:
  explicit File(const std::string &text) : path_("/tmp/tamis-haystack-" + std::to_string(getpid()) + ".json") { std::ofstream(path_) << text; }
  ~File() { std::remove(path_.c_str()); }
  const std::string &path() const { return path_; }

 private:
  std::string path_;
};

template <class Body>
bool throws(Body body) {
  try {
    body();
  } catch (const std::runtime_error &) {
    return true;
  }
  return false;
}

void tokenizer() {
  const File file(description().dump());
  const Tokenizer t(file.path());
  const auto pieces = [&](const std::string &text) {
    std::vector<std::string> out;
    for (const std::int32_t id : t.encode(text)) out.push_back(t.bytes(id));
    return out;
  };
  using Pieces = std::vector<std::string>;
  const std::vector<std::pair<std::string, Pieces>> cases{
      {"", {}},
      {"aaa", {"aa", "a"}},                        // leftmost of equal ranks
      {" aa", {" a", "a"}},                        // lower rank first
      {"  a", {" ", " a"}},                        // white space leaves its last space to the word
      {"a  ", {"a", "  "}},                        // but not at the end
      {"   1", {"  ", " ", "1"}},                  // nor before a digit, which is split off first
      {"11", {"1", "1"}},                          // digits stand alone
      {" 1", {" ", "1"}},                          // without their space
      {"a1a", {"a", "1", "a"}},
      {"a'sa", {"a", "'s", "a"}},                  // 's ends a word
      {"'Sa", {"'", "S", "a"}},                    // in lower case only
      {"'x", {"'", "x"}},
      {"a!!", {"a", "!!"}},
      {"a !", {"a", " !"}},
      {"a\n\na", {"a", "\n", "\n", "a"}},          // the last line break is a word of its own
      {"a\n\n", {"a", "\n\n"}},
      {"\xc3\xa9" "a", {"\xc3", "\xa9" "a"}},      // a letter beyond ASCII joins the word
      {"\xc2\xbd" "a", {"\xc2", "\xbd", "a"}},     // U+00BD is a number and stands alone
      {"\xc2\xa0" "a", {"\xc2", "\xa0", "a"}},     // U+00A0 is white space
      {"a<s> a", {"a", "<s>", " a"}},
      {"<s><s", {"<s>", "<", "s"}},
      {" key", {" key"}}};
  for (const auto &[text, expected] : cases) expect(pieces(text) == expected, "tokens of \"" + text + "\"");
  for (const char *bad : {"\xff", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "a\x80"})
    expect(throws([&] { t.encode(bad); }), "text that is not UTF-8 is refused");
}

void foreign_tokenizers() {
  const auto refused = [](const nlohmann::json &json) {
    const File file(json.dump());
    return throws([&] { Tokenizer t(file.path()); });
  };
  expect(!refused(description()), "the tokenizer itself is accepted");
  auto json = description();
  json["model"]["type"] = "WordPiece";
  expect(refused(json), "another model");
  json = description();
  json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  expect(refused(json), "a prefix space");
  json = description();
  json["model"]["merges"].push_back({"a", "nowhere"});
  expect(refused(json), "a merge of unknown tokens");
  json = description();
  json["model"]["vocab"]["<s>"] = 1000000;
  expect(refused(json), "an id out of range");
  json = description();
  json["model"]["vocab"].erase("z");
  expect(refused(json), "a missing byte");
  expect(refused(nlohmann::json::array()), "no object");
  expect(throws([] { Tokenizer t("/nonexistent"); }), "no file");
}

void haystacks() {
  const File file(description().dump());
  const Tokenizer t(file.path());
  const HaystackMaker maker(t, std::vector<std::int32_t>(1000, t.encode("a")[0]));
  std::mt19937_64 random(7), again(7);
  const Haystack h = maker.make(400, 10, random);
  expect(h.tokens.size() == 400 - 3 - 2, "a length counts question and answer");
  expect(h.tokens == maker.make(400, 10, again).tokens, "same seed, same haystack");
  expect(h.tokens != maker.make(400, 10, random).tokens, "and another one next");
  std::set<std::int32_t> words;
  std::vector<int> depths;
  auto at = h.tokens.begin();
  for (const Needle &n : h.needles) {
    const std::vector<std::int32_t> line{maker.key(), n.w1, n.w2, n.v1, n.v2, t.encode(".")[0]};
    at = std::search(at, h.tokens.end(), line.begin(), line.end());
    expect(at != h.tokens.end(), "needles lie in the haystack, in order");
    expect(n.depth == (at - h.tokens.begin()) * kDepthBins / 395, "and know their depth");
    words.insert({n.w1, n.w2, n.v1, n.v2});
    depths.push_back(n.depth);
  }
  expect(words.size() == 40, "no word twice");
  expect(depths.front() == 0 && depths.back() == kDepthBins - 1, "from start to end");
  expect(throws([&] { maker.check(60, 10); }), "no room for text");
  expect(throws([&] { maker.check(5000, 10); }), "the text is too short");
  expect(throws([&] { maker.check(900, 14); }), "the vocabulary has too few words");
}

void intervals() {
  const auto near = [](std::pair<double, double> ci, double low, double high) { return std::abs(ci.first - low) < 1e-4 && std::abs(ci.second - high) < 1e-4; };
  expect(near(wilson(5, 10), 0.2366, 0.7634), "5 of 10");
  expect(near(wilson(10, 10), 0.7225, 1), "10 of 10");
  expect(near(wilson(0, 10), 0, 0.2775), "0 of 10");
  expect(near(wilson(0, 0), 0, 1), "0 of 0");
}

}  // namespace

int main() {
  for (void (*test)() : {tokenizer, foreign_tokenizers, haystacks, intervals}) {
    try {
      test();
    } catch (const std::exception &e) {
      expect(false, e.what());
    }
  }
  std::cout << "haystack parts: " << passed << " passed, " << failed << " failed\n";
  return failed == 0 ? 0 : 1;
}
