/* DHSA: a boundary predictor's file that was tampered with is refused or runs; boundaries and chunks take any numbers. */
#include "file.h"

enum { C = 8, HIDDEN = 4, TOKENS = 24, D = 8 };

static const struct {
  const char *name;
  int rows, columns; /* columns 0: a vector */
} tensors[] = {
    {"enc.mha.in_proj_weight", 3 * C, C}, {"enc.mha.in_proj_bias", 3 * C, 0}, {"enc.mha.out_proj.weight", C, C},
    {"enc.mha.out_proj.bias", C, 0},      {"enc.norm.weight", C, 0},          {"enc.norm.bias", C, 0},
    {"mlp.0.weight", HIDDEN, 4 * C + 1},  {"mlp.0.bias", HIDDEN, 0},          {"mlp.2.weight", 1, HIDDEN},
    {"mlp.2.bias", 1, 0},
};

static size_t predictor_file(uint8_t *out) {
  char header[2048], shape[32];
  int n = snprintf(header, sizeof header, "{\"__metadata__\":{\"heads\":\"2\",\"window\":\"4\"}"), size = 0;
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    const int rows = tensors[i].rows, columns = tensors[i].columns, count = rows * (columns ? columns : 1);
    if (columns) snprintf(shape, sizeof shape, "[%d,%d]", rows, columns);
    else snprintf(shape, sizeof shape, "[%d]", rows);
    n += snprintf(header + n, sizeof header - (size_t)n, ",\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%d,%d]}",
                  tensors[i].name, shape, 4 * size, 4 * (size + count));
    size += count;
  }
  header[n++] = '}';
  while (n % 8) header[n++] = ' ';
  const uint64_t length = (uint64_t)n;
  memcpy(out, &length, 8);
  memcpy(out + 8, header, (size_t)n);
  for (int i = 0; i < size; i++) {
    const float value = (float)(i * 7 % 23 - 11) / 11.0f;
    memcpy(out + 8 + n + 4 * i, &value, 4);
  }
  return 8 + (size_t)n + 4 * (size_t)size;
}

static tamis_tensor packed(void *data, int64_t heads, int64_t n) {
  tamis_tensor t;
  memset(&t, 0, sizeof t);
  t.data = data;
  t.ndim = 3;
  t.shape[0] = heads, t.shape[1] = n, t.shape[2] = D;
  t.stride[0] = n * D, t.stride[1] = D, t.stride[2] = 1;
  return t;
}

static void try_predictor(input *in, tamis_context *context, float *rows, float *logits) {
  static uint8_t whole[8192], changed[FILE_CAPACITY];
  static size_t size;
  if (!size) size = predictor_file(whole);
  tamis_boundary_predictor *predictor = NULL;
  const size_t length = mutate(in, whole, size, changed);
  const tamis_precision precision = chance(in, 16) ? wild32(in) : (tamis_precision)below(in, 3);
  const int32_t heads = chance(in, 4) ? wild32(in) : 0;
  if (judged(tamis_boundary_predictor_load(context, file_in_memory(changed, length), heads, precision, &predictor)) != TAMIS_OK) return;
  tamis_tensor k = packed(rows, 1, 1 + below(in, TOKENS)), out = k;
  out.data = logits;
  out.ndim = 1;
  out.shape[0] = k.shape[1];
  out.stride[0] = 1;
  judged(tamis_boundary_predictor_run(predictor, &k, &out, NULL, NULL));
  tamis_boundary_predictor_destroy(predictor);
}

static void try_boundaries(input *in, const float *logits) {
  tamis_boundary_options o = TAMIS_BOUNDARY_OPTIONS_INIT;
  int64_t found[TOKENS + 1], count = 0;
  o.threshold = chance(in, 4) ? wild_float(in) : 0;
  o.min_gap = wild32(in);
  o.max_per_block = wild32(in);
  o.query_block = wild32(in);
  o.window = wild32(in);
  o.instruction_tokens = wild(in);
  const int64_t n = 1 + below(in, TOKENS), capacity = below(in, TOKENS + 2);
  if (judged(tamis_boundaries_from_logits(&o, logits, n, found, capacity, &count)) != TAMIS_OK) return;
  MUST(count >= 2 && count <= capacity && found[0] == 0 && found[count - 1] == n);
  for (int64_t i = 1; i < count; i++) MUST(found[i] > found[i - 1]);
}

static void try_chunks(input *in, tamis_context *context, float *rows) {
  tamis_chunk_index_options o = TAMIS_CHUNK_INDEX_OPTIONS_INIT;
  tamis_chunk_index *index = NULL;
  int32_t tokens[256];
  int64_t n = 0, total = 0;
  o.kv_heads = chance(in, 8) ? wild32(in) : 1 + (int32_t)below(in, 2);
  o.head_dim = chance(in, 8) ? wild32(in) : D;
  o.open_tokens = wild32(in);
  o.pooling = chance(in, 8) ? wild32(in) : (tamis_chunk_pooling)below(in, 2);
  o.sinks = wild32(in);
  o.local = wild32(in);
  if (judged(tamis_chunk_index_create(context, &o, &index)) != TAMIS_OK) return;
  for (int step = 0; step < 8 && in->left > 0; step++) {
    tamis_tensor k = packed(rows, o.kv_heads <= 2 ? o.kv_heads : 1, 1 + below(in, TOKENS)), q = packed(rows, 2, 1);
    int64_t boundaries[4] = {0, wild(in), k.shape[1], k.shape[1]};
    const int64_t budget = wild(in), given = chance(in, 2) ? 0 : (int64_t)below(in, 5);
    switch (below(in, 4)) {
      case 0:
        if (judged(tamis_chunk_index_truncate(index, n = wild(in))) == TAMIS_OK) total = n;
        break;
      case 1:
        if (judged(tamis_chunk_index_append(index, &k, given ? boundaries : NULL, given)) == TAMIS_OK) total += k.shape[1];
        break;
      default:
        if (judged(tamis_chunk_index_select(index, &q, budget, tokens, below(in, 257), &n)) != TAMIS_OK) break;
        MUST(n == (budget < 0 || budget > total ? total : budget));
        for (int64_t i = 0; i < n; i++) MUST(tokens[i] >= 0 && tokens[i] < total && (i == 0 || tokens[i] > tokens[i - 1]));
    }
  }
  tamis_chunk_index_destroy(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static tamis_context *context;
  static float rows[2 * TOKENS * D], logits[TOKENS];
  input in = {data, size};
  if (!context) MUST(tamis_context_create(NULL, &context) == TAMIS_OK);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) rows[i] = chance(&in, 64) ? wild_float(&in) : (float)(i * 5 % 17) / 17.0f;
  for (size_t i = 0; i < TOKENS; i++) logits[i] = wild_float(&in);
  try_boundaries(&in, logits);
  try_chunks(&in, context, rows);
  try_predictor(&in, context, rows, logits);
  return 0;
}
