/* tamis/dhsa.h: the boundary predictor from a file written here, boundaries from logits, chunks at decode over a cache. */
#include <unistd.h>

#include "check.h"

enum { C = 8, HIDDEN = 4, N = 400, HEADS = 2, D = 8 };
static char path[256];
static float weights[4096], keys[HEADS * N * D], values[HEADS * N * D], q[4 * D], out[4 * D], dense[4 * D], logits[N], again[N];
static int32_t tokens[N];
static int64_t boundaries[N + 1];

/* Random weights of width C without the tensor `without`; `cut` bytes are missing at the end. */
static void write_predictor(const char *metadata, const char *without, long cut) {
  static const struct {
    const char *name;
    int rows, columns;
  } tensors[] = {
      {"enc.mha.in_proj_weight", 3 * C, C}, {"enc.mha.in_proj_bias", 3 * C, 0},    {"enc.mha.out_proj.weight", C, C},
      {"enc.mha.out_proj.bias", C, 0},      {"enc.norm.weight", C, 0},             {"enc.norm.bias", C, 0},
      {"mlp.0.weight", HIDDEN, 4 * C + 1},  {"mlp.0.bias", HIDDEN, 0},             {"mlp.2.weight", 1, HIDDEN},
      {"mlp.2.bias", 1, 0},
  };
  char header[2048];
  int length = snprintf(header, sizeof header, "{%s", metadata), size = 0;
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    int rows = tensors[i].rows, columns = tensors[i].columns, count = rows * (columns ? columns : 1);
    char shape[32];
    if (columns) {
      snprintf(shape, sizeof shape, "[%d,%d]", rows, columns);
    } else {
      snprintf(shape, sizeof shape, "[%d]", rows);
    }
    length += snprintf(header + length, sizeof header - (size_t)length,
                       "%s\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%d,%d]}", i ? "," : "",
                       strcmp(tensors[i].name, without) ? tensors[i].name : "other", shape, 4 * size, 4 * (size + count));
    size += count;
  }
  header[length++] = '}';
  while (length % 8) header[length++] = ' ';
  fill_random(weights, (size_t)size, 5);
  FILE *f = fopen(path, "wb");
  unsigned char head[8];
  if (!f) return;
  for (int i = 0; i < 8; i++) head[i] = (unsigned char)((uint64_t)length >> (8 * i));
  fwrite(head, 1, 8, f);
  fwrite(header, 1, (size_t)length, f);
  fwrite(weights, 1, (size_t)(4 * size - cut), f);
  fclose(f);
}

static int32_t stop(double done, void *user) { return done < 0 || user == NULL; }

static void test_predictor(tamis_context *c) {
  tamis_boundary_predictor *p = NULL;
  int32_t width = 0, window = 0, heads = 0;
  tamis_tensor k = tensor(keys, TAMIS_F32, 3, 2, N, 4), l = tensor(logits, TAMIS_F32, 1, N);
  write_predictor("\"__metadata__\":{\"heads\":\"2\",\"window\":\"3\"},", "", 0);
  OK(tamis_boundary_predictor_load(c, path, 0, TAMIS_PRECISION_F32, &p));
  OK(tamis_boundary_predictor_info(p, &width, &window, &heads));
  CHECK(width == C && window == 3 && heads == 2);
  OK(tamis_boundary_predictor_info(p, NULL, NULL, NULL));
  OK(tamis_boundary_predictor_run(p, &k, &l, NULL, NULL));
  int distinct = 0;
  for (int i = 1; i < N; i++) distinct += logits[i] != logits[i - 1];
  CHECK(distinct > N - 5);
  /* One head of all eight dims is the same keys only if they lie in the same order: token by token. */
  for (int t = 0; t < N; t++)
    for (int h = 0; h < 2; h++) memcpy(values + t * C + h * 4, keys + (h * N + t) * 4, 16);
  tamis_tensor one = tensor(values, TAMIS_F32, 3, 1, N, C), other = tensor(again, TAMIS_F32, 1, N);
  OK(tamis_boundary_predictor_run(p, &one, &other, NULL, NULL));
  CHECK(memcmp(logits, again, sizeof logits) == 0);

  tamis_tensor wide = tensor(keys, TAMIS_F32, 3, 2, 20, 8), few = tensor(again, TAMIS_F32, 1, N - 1);
  tamis_tensor flat = tensor(keys, TAMIS_F32, 2, N, C), half = tensor(again, TAMIS_F16, 1, N);
  tamis_tensor same = tensor(keys, TAMIS_F32, 1, N);
  few.shape[0] = 20;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "expected a width of 8", tamis_boundary_predictor_run(p, &wide, &few, NULL, NULL));
  few.shape[0] = N - 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_boundary_predictor_run(p, &k, &few, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_boundary_predictor_run(p, &k, &half, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_boundary_predictor_run(p, &k, &same, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->ndim", tamis_boundary_predictor_run(p, &flat, &l, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is NULL", tamis_boundary_predictor_run(p, NULL, &l, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits is NULL", tamis_boundary_predictor_run(p, &k, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "predictor", tamis_boundary_predictor_run(NULL, &k, &l, NULL, NULL));
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_boundary_predictor_run(p, &k, &l, stop, &k));
  tamis_boundary_predictor_destroy(p);
  tamis_boundary_predictor_destroy(NULL);

  OK(tamis_boundary_predictor_load(c, path, 4, TAMIS_PRECISION_I8, &p));
  tamis_boundary_predictor_destroy(p);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "heads", tamis_boundary_predictor_load(c, path, 3, 0, &p));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "heads", tamis_boundary_predictor_load(c, path, -1, 0, &p));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "precision", tamis_boundary_predictor_load(c, path, 0, 3, &p));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_boundary_predictor_load(c, NULL, 0, 0, &p));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_boundary_predictor_load(c, path, 0, 0, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "path", tamis_boundary_predictor_load(c, "/nowhere", 0, 0, &p));
  write_predictor("", "enc.norm.bias", 0);
  FAILS(TAMIS_ERR_FORMAT, "enc.norm.bias", tamis_boundary_predictor_load(c, path, 2, 0, &p));
  write_predictor("", "", 4);
  FAILS(TAMIS_ERR_FORMAT, "path", tamis_boundary_predictor_load(c, path, 2, 0, &p));
  write_predictor("\"__metadata__\":{\"heads\":\"0\"},", "", 0);
  FAILS(TAMIS_ERR_FORMAT, "heads", tamis_boundary_predictor_load(c, path, 0, 0, &p));
}

static void test_boundaries(void) {
  int64_t n = -1;
  tamis_boundary_options o = TAMIS_BOUNDARY_OPTIONS_INIT;
  for (int i = 0; i < N; i++) logits[i] = 0;
  logits[100] = logits[105] = 3;
  logits[50] = 2;
  logits[2] = logits[397] = NAN;
  OK(tamis_boundaries_from_logits(NULL, logits, N, boundaries, N + 1, &n));
  CHECK(n == 5 && boundaries[0] == 0 && boundaries[1] == 51 && boundaries[2] == 101);
  CHECK(boundaries[3] == 337 && boundaries[4] == N);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_boundaries_from_logits(&o, logits, N, boundaries, 4, &n));
  CHECK(n == 5);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_boundaries_from_logits(&o, logits, N, NULL, 0, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "boundaries", tamis_boundaries_from_logits(&o, logits, N, NULL, 5, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "logits", tamis_boundaries_from_logits(&o, NULL, N, boundaries, 5, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is 0", tamis_boundaries_from_logits(&o, logits, 0, boundaries, 5, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "count", tamis_boundaries_from_logits(&o, logits, N, boundaries, 5, NULL));
  o.threshold = NAN;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "threshold", tamis_boundaries_from_logits(&o, logits, N, boundaries, 5, &n));
  o.threshold = 4;
  o.instruction_tokens = 0;
  OK(tamis_boundaries_from_logits(&o, logits, N, boundaries, N + 1, &n));
  CHECK(n == 2 && boundaries[1] == N);
  o.min_gap = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "min_gap", tamis_boundaries_from_logits(&o, logits, N, boundaries, 5, &n));
  tamis_boundary_options_init(&o);
  CHECK(o.min_gap == 8 && o.query_block == 128 && o.instruction_tokens == 64);
}

static void test_chunks(tamis_context *c) {
  tamis_kv_options kv = TAMIS_KV_OPTIONS_INIT;
  tamis_selector_options so = TAMIS_SELECTOR_OPTIONS_INIT;
  tamis_chunk_index_options o = TAMIS_CHUNK_INDEX_OPTIONS_INIT;
  tamis_kv_cache *cache = NULL;
  tamis_selector *selector = NULL;
  tamis_chunk_index *index = NULL;
  tamis_sequence s = -1;
  int64_t n = -1;
  kv.kv_heads = o.kv_heads = HEADS;
  kv.head_dim = o.head_dim = D;
  kv.max_tokens = 512;
  o.sinks = 4;
  o.local = 8;
  so.method = TAMIS_SELECT_DENSE;
  so.q_heads = 4;
  so.positions = TAMIS_POSITIONS_NATURAL;
  fill_random(q, 4 * D, 8);
  fill_random(keys, HEADS * N * D, 9);
  fill_random(values, HEADS * N * D, 10);
  for (int h = 0; h < HEADS; h++) /* tokens 200 to 219 answer the query */
    for (int t = 200; t < 220; t++)
      for (int i = 0; i < D; i++) keys[(h * N + t) * D + i] = 8 * (q[i] + q[D + i] + q[2 * D + i] + q[3 * D + i]);
  tamis_tensor tk = tensor(keys, TAMIS_F32, 3, HEADS, N, D), tv = tensor(values, TAMIS_F32, 3, HEADS, N, D);
  tamis_tensor tq = tensor(q, TAMIS_F32, 3, 4, 1, D), to = tensor(out, TAMIS_F32, 3, 4, 1, D);
  tamis_tensor td = tensor(dense, TAMIS_F32, 3, 4, 1, D);
  OK(tamis_kv_create(c, &kv, &cache));
  OK(tamis_kv_sequence_create(cache, &s));
  OK(tamis_kv_append(cache, s, 0, &tk, &tv));
  OK(tamis_selector_create(cache, &so, &selector));
  OK(tamis_attend(selector, s, 0, &tq, &td, NULL, NULL));

  OK(tamis_chunk_index_create(c, &o, &index));
  for (int i = 0; i <= 20; i++) boundaries[i] = 20 * i;
  OK(tamis_chunk_index_append(index, &tk, boundaries, 21));
  OK(tamis_chunk_index_select(index, &tq, -1, tokens, N, &n));
  CHECK(n == N && tokens[0] == 0 && tokens[N - 1] == N - 1);
  OK(tamis_attend_tokens(selector, s, 0, &tq, tokens, n, &to, NULL, NULL));
  CHECK(memcmp(out, dense, sizeof out) == 0);
  OK(tamis_chunk_index_select(index, &tq, 32, tokens, 32, &n));
  CHECK(n == 32 && tokens[0] == 0 && tokens[3] == 3 && tokens[4] == 200 && tokens[23] == 219 && tokens[24] == N - 8);
  OK(tamis_attend_tokens(selector, s, 0, &tq, tokens, n, &to, NULL, NULL));

  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_chunk_index_select(index, &tq, 32, tokens, 31, &n));
  CHECK(n == 32);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "budget", tamis_chunk_index_select(index, &tq, 0, tokens, N, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens", tamis_chunk_index_select(index, &tq, 8, NULL, N, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "q->shape[1]", tamis_chunk_index_select(index, &tk, 8, tokens, N, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_chunk_index_truncate(index, N + 1));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_tokens", tamis_chunk_index_truncate(index, -1));
  boundaries[3] = 90;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "boundaries[4]", tamis_chunk_index_append(index, &tk, boundaries, 21));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "boundaries is NULL", tamis_chunk_index_append(index, &tk, NULL, 3));
  OK(tamis_chunk_index_truncate(index, 390));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k->shape[0]", tamis_chunk_index_append(index, &tq, NULL, 0));
  OK(tamis_chunk_index_truncate(index, 0));
  OK(tamis_chunk_index_select(index, &tq, 5, tokens, N, &n));
  CHECK(n == 0);
  tamis_chunk_index_destroy(index);
  tamis_chunk_index_destroy(NULL);
  o.pooling = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pooling", tamis_chunk_index_create(c, &o, &index));
  o.pooling = TAMIS_CHUNK_MEAN;
  o.head_dim = 20;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "head_dim", tamis_chunk_index_create(c, &o, &index));
  tamis_chunk_index_options_init(&o);
  o.open_tokens = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "open_tokens", tamis_chunk_index_create(c, &o, &index));
  tamis_selector_destroy(selector);
  tamis_kv_destroy(cache);
}

void test_dhsa(void) {
  const char *directory = getenv("TMPDIR");
  tamis_context *c = make_context(2);
  snprintf(path, sizeof path, "%s/tamis-test-%ld-boundaries.safetensors", directory ? directory : "/tmp", (long)getpid());
  fill_random(keys, HEADS * N * D, 3);
  test_predictor(c);
  test_boundaries();
  test_chunks(c);
  unlink(path);
  tamis_context_destroy(c);
}
