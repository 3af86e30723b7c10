// Written by Sources/TamisText/Unicode/generate_tables.py from Unicode 15.0.0 and newer_characters.txt; do not edit.
// Unicode's character data as two-stage tables; an argument is a code point below 0x110000.
#pragma once
#include <stdint.h>

#define TS_UNICODE_VERSION "15.0.0"
enum {
  ts_category_Cn = 0,
  ts_category_Lu = 1,
  ts_category_Ll = 2,
  ts_category_Lt = 3,
  ts_category_Lm = 4,
  ts_category_Lo = 5,
  ts_category_Mn = 6,
  ts_category_Mc = 7,
  ts_category_Me = 8,
  ts_category_Nd = 9,
  ts_category_Nl = 10,
  ts_category_No = 11,
  ts_category_Pc = 12,
  ts_category_Pd = 13,
  ts_category_Ps = 14,
  ts_category_Pe = 15,
  ts_category_Pi = 16,
  ts_category_Pf = 17,
  ts_category_Po = 18,
  ts_category_Sm = 19,
  ts_category_Sc = 20,
  ts_category_Sk = 21,
  ts_category_So = 22,
  ts_category_Zs = 23,
  ts_category_Zl = 24,
  ts_category_Zp = 25,
  ts_category_Cc = 26,
  ts_category_Cf = 27,
  ts_category_Co = 28,
  ts_category_Cs = 29,
  ts_break_Other = 0,
  ts_break_CR = 1,
  ts_break_LF = 2,
  ts_break_Control = 3,
  ts_break_Extend = 4,
  ts_break_ZWJ = 5,
  ts_break_Regional_Indicator = 6,
  ts_break_Prepend = 7,
  ts_break_SpacingMark = 8,
  ts_break_L = 9,
  ts_break_V = 10,
  ts_break_T = 11,
  ts_break_LV = 12,
  ts_break_LVT = 13,
};

static inline uint32_t ts_place(uint32_t c) {
  const uint32_t block = c >> 7;
  if (block < 2048) return block;
  return block >> 5 == 0xE0 ? 2048 + (block & 31) : 2080 + 2 * (block >> 9) + ((block & 511) == 511);
}

extern const uint16_t ts_category_index[2114];
extern const uint8_t ts_category_block[33664];
// General category (low five bits, ts_category_*), 32: White_Space, 64: \w, 128: numeric.
static inline uint8_t ts_category(uint32_t c) {
  return ts_category_block[((uint32_t)ts_category_index[ts_place(c)] << 7) + (c & 127)];
}

extern const uint8_t ts_bert_index[2114];
extern const uint8_t ts_bert_block[20352];
// 1: removed by clean_text, 2: White_Space, 4: punctuation, 8: CJK ideograph, 16: nonspacing mark, 32: mark,
// 64: has a lower case, 128: NFD or stripping accents can touch it.
static inline uint8_t ts_bert(uint32_t c) {
  return ts_bert_block[((uint32_t)ts_bert_index[ts_place(c)] << 7) + (c & 127)];
}

extern const uint8_t ts_lower_index_of_index[2114];
extern const uint8_t ts_lower_index_of_block[4864];
// Index of the difference to the lower case; 0: none.
static inline uint8_t ts_lower_index_of(uint32_t c) {
  return ts_lower_index_of_block[((uint32_t)ts_lower_index_of_index[ts_place(c)] << 7) + (c & 127)];
}

extern const int32_t ts_lower_delta[85];
static inline uint32_t ts_lower(uint32_t c) {
  return (uint32_t)((int32_t)c + ts_lower_delta[ts_lower_index_of(c)]);
}

extern const uint8_t ts_fold_index_of_index[2114];
extern const uint8_t ts_fold_index_of_block[4864];
// Index of the difference to the fold case; 0: none.
static inline uint8_t ts_fold_index_of(uint32_t c) {
  return ts_fold_index_of_block[((uint32_t)ts_fold_index_of_index[ts_place(c)] << 7) + (c & 127)];
}

extern const int32_t ts_fold_delta[99];
static inline uint32_t ts_fold(uint32_t c) {
  return (uint32_t)((int32_t)c + ts_fold_delta[ts_fold_index_of(c)]);
}

extern const uint32_t ts_decomposition_pool[18376];
static inline uint32_t ts_decomposition_at(long offset) { return ts_decomposition_pool[offset]; }

extern const uint8_t ts_decomposition_index[2114];
extern const uint16_t ts_decomposition_block[13568];
// Offset in the pool of: lengths (canonical | compatible << 8), canonical scalars, compatible scalars. 0: none.
// Hangul syllables are not in it.
static inline uint16_t ts_decomposition(uint32_t c) {
  return ts_decomposition_block[((uint32_t)ts_decomposition_index[ts_place(c)] << 7) + (c & 127)];
}

extern const uint8_t ts_normal_index[2114];
extern const uint16_t ts_normal_block[26368];
// Canonical combining class (low byte), and whether the quick check does not say yes: 256 NFC, 512 NFKC, 1024 NFD,
// 2048 NFKD. 4096: newer than Unicode 9.0.
static inline uint16_t ts_normal(uint32_t c) {
  return ts_normal_block[((uint32_t)ts_normal_index[ts_place(c)] << 7) + (c & 127)];
}

extern const uint32_t ts_compositions[2823];
enum { ts_composition_count = 941 };
typedef struct {
  uint32_t first, second, result;
} ts_composition;
// The canonical compositions, ascending by (first, second).
static inline ts_composition ts_composition_at(long i) {
  ts_composition pair = {ts_compositions[3 * i], ts_compositions[3 * i + 1], ts_compositions[3 * i + 2]};
  return pair;
}

extern const uint8_t ts_grapheme_index[2114];
extern const uint8_t ts_grapheme_block[20096];
// Grapheme_Cluster_Break (low four bits, ts_break_*), 16: Extended_Pictographic, >> 5: Indic_Conjunct_Break
// (1 Extend, 2 Consonant, 3 Linker).
static inline uint8_t ts_grapheme(uint32_t c) {
  return ts_grapheme_block[((uint32_t)ts_grapheme_index[ts_place(c)] << 7) + (c & 127)];
}

extern const uint8_t ts_script_index[2114];
extern const uint8_t ts_script_block[31872];
// Script: 0 Unknown, else 1 + index of its name in ts_script_names.
static inline uint8_t ts_script(uint32_t c) {
  return ts_script_block[((uint32_t)ts_script_index[ts_place(c)] << 7) + (c & 127)];
}

enum { ts_script_count = 163 };
extern const char *const ts_script_names[ts_script_count];
static inline const char *ts_script_name(long i) { return ts_script_names[i]; }
