/* tamis/encoder.h: a tiny model written by hand, its forward in double, and every documented error. */
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

enum { H = 8, HEADS = 1, F = 16, V = 13, P = 10, LABELS = 2, LAYERS = 1, MAX_TENSORS = 32 };

static char folder[200], file[256];
static struct {
  char name[96];
  int rows, columns; /* rows 0: a vector */
  float *data;
} tensors[MAX_TENSORS];
static int n_tensors;
static float pool[16384];
static size_t pool_used;

static float *add(const char *name, int rows, int columns, float around) {
  float *data = pool + pool_used;
  const size_t n = (size_t)(rows ? rows : 1) * (size_t)columns;
  fill_random(data, n, (uint64_t)n_tensors + 1);
  for (size_t i = 0; i < n; i++) data[i] = around + 0.4f * data[i];
  snprintf(tensors[n_tensors].name, sizeof tensors[0].name, "%s", name);
  tensors[n_tensors].rows = rows;
  tensors[n_tensors].columns = columns;
  tensors[n_tensors].data = data;
  n_tensors++;
  pool_used += n;
  return data;
}

typedef struct linear {
  const float *weight, *bias;
} linear;

static linear add_linear(const char *name, int outputs, int inputs) {
  char full[96];
  linear l;
  snprintf(full, sizeof full, "%s.weight", name);
  l.weight = add(full, outputs, inputs, 0);
  snprintf(full, sizeof full, "%s.bias", name);
  l.bias = add(full, 0, outputs, 0);
  return l;
}

static linear add_norm(const char *name) {
  char full[96];
  linear l;
  snprintf(full, sizeof full, "%s.LayerNorm.weight", name);
  l.weight = add(full, 0, H, 1);
  snprintf(full, sizeof full, "%s.LayerNorm.bias", name);
  l.bias = add(full, 0, H, 0);
  return l;
}

static float *word, *position, *type;
static linear embedding_norm, q, k, v, o, inner, outer, attention_norm, output_norm, classifier;

static void write_text(const char *name, const char *text) {
  FILE *f;
  snprintf(file, sizeof file, "%s/%s", folder, name);
  f = fopen(file, "wb");
  if (!f) return;
  fwrite(text, 1, strlen(text), f);
  fclose(f);
}

static const char config[] =
    "{\"model_type\":\"bert\",\"num_hidden_layers\":1,\"hidden_size\":8,\"num_attention_heads\":1,\"intermediate_size\":16,"
    "\"vocab_size\":13,\"max_position_embeddings\":10,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,\"pad_token_id\":0,"
    "\"architectures\":[\"BertForTokenClassification\"],\"id2label\":{\"0\":\"drop\",\"1\":\"k\\u00e9\\u00e9p\"}}";

static void make_model(void) {
  n_tensors = 0;
  pool_used = 0;
  word = add("bert.embeddings.word_embeddings.weight", V, H, 0);
  position = add("bert.embeddings.position_embeddings.weight", P, H, 0);
  type = add("bert.embeddings.token_type_embeddings.weight", 2, H, 0);
  embedding_norm = add_norm("bert.embeddings");
  q = add_linear("bert.encoder.layer.0.attention.self.query", H, H);
  k = add_linear("bert.encoder.layer.0.attention.self.key", H, H);
  v = add_linear("bert.encoder.layer.0.attention.self.value", H, H);
  o = add_linear("bert.encoder.layer.0.attention.output.dense", H, H);
  attention_norm = add_norm("bert.encoder.layer.0.attention.output");
  inner = add_linear("bert.encoder.layer.0.intermediate.dense", F, H);
  outer = add_linear("bert.encoder.layer.0.output.dense", H, F);
  output_norm = add_norm("bert.encoder.layer.0.output");
  classifier = add_linear("classifier", LABELS, H);
  write_text("config.json", config);
}

static void write_weights_without(const char *missing) {
  static char header[8192];
  size_t at = 0, offset = 0;
  FILE *f;
  for (int i = 0; i < n_tensors; i++) {
    char shape[32];
    if (strcmp(tensors[i].name, missing) == 0) continue;
    const int rows = tensors[i].rows, columns = tensors[i].columns;
    const size_t bytes = 4 * (size_t)(rows ? rows : 1) * (size_t)columns;
    if (rows) snprintf(shape, sizeof shape, "%d,%d", rows, columns);
    else snprintf(shape, sizeof shape, "%d", columns);
    at += (size_t)snprintf(header + at, sizeof header - at,
                           "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                           at ? ',' : '{', tensors[i].name, shape, offset, offset + bytes);
    offset += bytes;
  }
  header[at++] = '}';
  while (at % 8) header[at++] = ' ';
  snprintf(file, sizeof file, "%s/model.safetensors", folder);
  f = fopen(file, "wb");
  if (!f) return;
  const uint64_t n = at;
  fwrite(&n, 8, 1, f);
  fwrite(header, 1, at, f);
  for (int i = 0; i < n_tensors; i++)
    if (strcmp(tensors[i].name, missing) != 0)
      fwrite(tensors[i].data, 4, (size_t)(tensors[i].rows ? tensors[i].rows : 1) * (size_t)tensors[i].columns, f);
  fclose(f);
}

/* ------------------------------------------------------------------------------------------------ oracle */

static void apply(linear l, int outputs, int inputs, const double *x, double *y) {
  for (int i = 0; i < outputs; i++) {
    y[i] = l.bias[i];
    for (int j = 0; j < inputs; j++) y[i] += (double)l.weight[i * inputs + j] * x[j];
  }
}

static void normalise(linear l, double *x) {
  double mean = 0, variance = 0;
  for (int i = 0; i < H; i++) mean += x[i] / H;
  for (int i = 0; i < H; i++) variance += (x[i] - mean) * (x[i] - mean) / H;
  for (int i = 0; i < H; i++) x[i] = (x[i] - mean) / sqrt(variance + 1e-12) * l.weight[i] + l.bias[i];
}

static void oracle(const int32_t *ids, const int32_t *types, int n, double states[][H]) {
  double query[P][H], key[P][H], value[P][H], mixed[H], y[H], wide[F];
  for (int t = 0; t < n; t++) {
    for (int i = 0; i < H; i++)
      states[t][i] = (double)word[ids[t] * H + i] + position[t * H + i] + type[(types ? types[t] : 0) * H + i];
    normalise(embedding_norm, states[t]);
    apply(q, H, H, states[t], query[t]);
    apply(k, H, H, states[t], key[t]);
    apply(v, H, H, states[t], value[t]);
  }
  for (int t = 0; t < n; t++) {
    double total = 0, p[P];
    for (int j = 0; j < n; j++) {
      double z = 0;
      for (int i = 0; i < H; i++) z += query[t][i] * key[j][i];
      p[j] = exp(z / sqrt(H));
      total += p[j];
    }
    for (int i = 0; i < H; i++) {
      mixed[i] = 0;
      for (int j = 0; j < n; j++) mixed[i] += p[j] / total * value[j][i];
    }
    apply(o, H, H, mixed, y);
    for (int i = 0; i < H; i++) states[t][i] += y[i];
    normalise(attention_norm, states[t]);
    apply(inner, F, H, states[t], wide);
    for (int i = 0; i < F; i++) wide[i] *= 0.5 * erfc(-wide[i] / sqrt(2));
    apply(outer, H, F, wide, y);
    for (int i = 0; i < H; i++) states[t][i] += y[i];
    normalise(output_norm, states[t]);
  }
}

/* ------------------------------------------------------------------------------------------------ tests */

static const int32_t ids[] = {3, 1, 12, 5, 5, 7, 0, 2};
static const int32_t types[] = {0, 1, 1, 0, 0, 1, 1, 0};
static const int64_t starts[] = {0, 3, 3, 8};
enum { TOKENS = 8, SEQUENCES = 3 };

static tamis_ragged batch(void) {
  const tamis_ragged b = {ids, starts, SEQUENCES, NULL};
  return b;
}

static void test_results(tamis_encoder *encoder, int with_types) {
  double exact[TOKENS][H], logit[TOKENS][LABELS];
  static float states[TOKENS * H], logits[TOKENS * LABELS], p[TOKENS * LABELS], vectors[SEQUENCES * H];
  tamis_ragged b = batch();
  tamis_tensor ts = tensor(states, TAMIS_F32, 2, TOKENS, H), tl = tensor(logits, TAMIS_F32, 2, TOKENS, LABELS);
  tamis_tensor tp = tensor(p, TAMIS_F32, 2, TOKENS, LABELS), tv = tensor(vectors, TAMIS_F32, 2, SEQUENCES, H);
  double worst = 0, length = 0;
  if (with_types) b.types = types;
  for (int s = 0; s < SEQUENCES; s++)
    oracle(ids + starts[s], with_types ? types + starts[s] : NULL, (int)(starts[s + 1] - starts[s]), exact + starts[s]);
  OK(tamis_encoder_states(encoder, &b, &ts, NULL, NULL));
  OK(tamis_encoder_classify(encoder, &b, TAMIS_CLASS_LOGITS, &tl, NULL, NULL));
  OK(tamis_encoder_classify(encoder, &b, TAMIS_CLASS_PROBABILITIES, &tp, NULL, NULL));
  for (int t = 0; t < TOKENS; t++) {
    apply(classifier, LABELS, H, exact[t], logit[t]);
    for (int i = 0; i < H; i++) worst = fmax(worst, fabs(states[t * H + i] - exact[t][i]));
    for (int i = 0; i < LABELS; i++) worst = fmax(worst, fabs(logits[t * LABELS + i] - logit[t][i]));
    worst = fmax(worst, fabs(p[t * LABELS + 1] - 1 / (1 + exp(logit[t][0] - logit[t][1]))));
  }
  CHECK(worst < 1e-5);
  OK(tamis_encoder_embed(encoder, &b, TAMIS_POOLING_CLS, 0, &tv, NULL, NULL));
  CHECK(memcmp(vectors, states, sizeof(float) * H) == 0 && vectors[H] == 0 && vectors[2 * H + 3] == states[3 * H + 3]);
  OK(tamis_encoder_embed(encoder, &b, TAMIS_POOLING_STORED, 1, &tv, NULL, NULL));
  for (int i = 0; i < H; i++) length += (double)vectors[i] * vectors[i];
  CHECK(fabs(length - 1) < 1e-6 && fabs(vectors[0] / vectors[1] - (states[0] + states[H] + states[2 * H]) /
                                        (states[1] + states[H + 1] + states[2 * H + 1])) < 1e-4);
}

static void test_info(tamis_context *context, tamis_encoder *encoder) {
  tamis_encoder_info info = TAMIS_ENCODER_INFO_INIT;
  tamis_encoder_options o2 = TAMIS_ENCODER_OPTIONS_INIT;
  tamis_encoder *other = NULL;
  char label[16];
  size_t needed = 0;
  OK(tamis_encoder_get_info(encoder, &info));
  CHECK(info.kind == TAMIS_ENCODER_BERT && info.precision == TAMIS_PRECISION_F32 && info.layers == LAYERS && info.hidden == H);
  CHECK(info.heads == HEADS && info.vocabulary == V && info.types == 2 && info.max_tokens == P && info.pad_id == 0);
  CHECK(info.labels == LABELS && info.pooling == TAMIS_POOLING_MEAN && info.normalise == 0 && info.embed_tokens == P);
  CHECK(info.parameters == (int64_t)pool_used && info.bytes > 0 && info.struct_size == sizeof info);
  OK(tamis_encoder_label(encoder, 1, label, sizeof label, &needed));
  CHECK(strcmp(label, "k\xc3\xa9\xc3\xa9p") == 0 && needed == 6);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_encoder_label(encoder, 1, label, 4, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is 2", tamis_encoder_label(encoder, 2, label, sizeof label, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is -1", tamis_encoder_label(encoder, -1, label, sizeof label, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "info", tamis_encoder_get_info(encoder, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "encoder", tamis_encoder_get_info(NULL, &info));
  info.struct_size = 20;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_encoder_get_info(encoder, &info));
  info.struct_size = sizeof info;
  for (tamis_precision p = TAMIS_PRECISION_F32; p <= TAMIS_PRECISION_I8; p++) {
    o2.precision = p;
    o2.added_rows = 4;
    OK(tamis_encoder_create(context, folder, &o2, &other));
    OK(tamis_encoder_get_info(other, &info));
    CHECK(info.precision == p && info.vocabulary == V + 4);
    tamis_encoder_destroy(other);
  }
}

static void test_call_errors(tamis_encoder *encoder) {
  static float out[TOKENS * H];
  tamis_tensor t = tensor(out, TAMIS_F32, 2, TOKENS, H), bad;
  tamis_ragged b = batch();
  int32_t wild[TOKENS];
  int64_t offsets[4];
#define STATES(status, word) FAILS(status, word, tamis_encoder_states(encoder, &b, &t, NULL, NULL))
#define BAD(word, change)                        \
  do {                                           \
    b = batch();                                 \
    memcpy(wild, ids, sizeof wild);              \
    memcpy(offsets, starts, sizeof offsets);     \
    change;                                      \
    STATES(TAMIS_ERR_INVALID_ARGUMENT, word);    \
  } while (0)
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "encoder", tamis_encoder_states(NULL, &b, &t, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tokens is NULL", tamis_encoder_states(encoder, NULL, &t, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out is NULL", tamis_encoder_states(encoder, &b, NULL, NULL, NULL));
  BAD("ids is NULL", b.ids = NULL);
  BAD("starts is NULL", b.starts = NULL);
  BAD("sequences is 0", b.sequences = 0);
  BAD("sequences is -1", b.sequences = -1);
  BAD("sequences", b.sequences = INT64_MAX);
  BAD("ids[7] is 13", (wild[7] = V, b.ids = wild));
  BAD("ids[0] is -1", (wild[0] = -1, b.ids = wild));
  BAD("types[2] is 2", (wild[0] = wild[1] = 0, wild[2] = 2, b.types = wild));
  BAD("types", b.types = (const int32_t *)(const void *)((const char *)types + 1));
  BAD("starts[0]", (offsets[0] = 1, b.starts = offsets));
  BAD("starts[2]", (offsets[2] = 2, b.starts = offsets));
  BAD("starts[3]", (offsets[3] = INT64_MAX, b.starts = offsets));
  BAD("starts[1]", (offsets[1] = INT64_MIN, b.starts = offsets));
  b = batch();
  bad = tensor(out, TAMIS_F32, 2, TOKENS, H - 1);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "expected [8, 8]", tamis_encoder_states(encoder, &b, &bad, NULL, NULL));
  bad = tensor(out, TAMIS_F32, 1, TOKENS * H);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "ndim", tamis_encoder_states(encoder, &b, &bad, NULL, NULL));
  bad = tensor(out, TAMIS_F16, 2, TOKENS, H);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "dtype", tamis_encoder_states(encoder, &b, &bad, NULL, NULL));
  bad = t;
  bad.stride[0] = 2 * H;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "stride[0]", tamis_encoder_states(encoder, &b, &bad, NULL, NULL));
  bad = tensor(ids, TAMIS_F32, 2, TOKENS, LABELS);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "overlaps tokens->",
        tamis_encoder_classify(encoder, &b, TAMIS_CLASS_LOGITS, &bad, NULL, NULL));
  bad = tensor(out, TAMIS_F32, 2, TOKENS, LABELS);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "form is 2", tamis_encoder_classify(encoder, &b, 2, &bad, NULL, NULL));
  bad = tensor(out, TAMIS_F32, 2, SEQUENCES, H);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "pooling is 3", tamis_encoder_embed(encoder, &b, 3, 0, &bad, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "normalise is 2", tamis_encoder_embed(encoder, &b, 0, 2, &bad, NULL, NULL));
  {
    int32_t many[P + 1] = {0};
    const int64_t one[] = {0, P + 1};
    const tamis_ragged longest = {many, one, 1, NULL};
    static float big[(P + 1) * H];
    bad = tensor(big, TAMIS_F32, 2, P + 1, H);
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, "11 tokens; expected at most 10",
          tamis_encoder_states(encoder, &longest, &bad, NULL, NULL));
  }
}

static int32_t stop(double done, void *user) {
  int *left = (int *)user;
  return done >= 0 && done <= 1 && (*left)-- > 0;
}

static void test_cancelling(tamis_context *context, tamis_encoder *encoder) {
  static float out[TOKENS * H];
  tamis_tensor t = tensor(out, TAMIS_F32, 2, TOKENS, H);
  tamis_ragged b = batch();
  tamis_encoder_options options = TAMIS_ENCODER_OPTIONS_INIT;
  tamis_encoder *made = NULL;
  int left = 0;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_encoder_states(encoder, &b, &t, stop, &left));
  left = 1000;
  OK(tamis_encoder_states(encoder, &b, &t, stop, &left));
  CHECK(left < 999);
  options.progress = stop;
  options.progress_user = &left;
  left = 1;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_encoder_create(context, folder, &options, &made));
  CHECK(made == NULL);
}

static void test_bad_folders(tamis_context *context) {
  tamis_encoder *made = NULL;
  tamis_encoder_options options = TAMIS_ENCODER_OPTIONS_INIT;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_encoder_create(NULL, folder, NULL, &made));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_encoder_create(context, NULL, NULL, &made));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_encoder_create(context, folder, NULL, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "config.json", tamis_encoder_create(context, "/nonexistent", NULL, &made));
  options.precision = 3;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "precision", tamis_encoder_create(context, folder, &options, &made));
  options.precision = -2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "precision", tamis_encoder_create(context, folder, &options, &made));
  options.precision = TAMIS_PRECISION_STORED;
  options.added_rows = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "added_rows", tamis_encoder_create(context, folder, &options, &made));
  options.added_rows = INT32_MAX;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "added_rows", tamis_encoder_create(context, folder, &options, &made));
  options.added_rows = 0;
  options.struct_size = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_encoder_create(context, folder, &options, &made));
  write_weights_without("classifier.bias");
  FAILS(TAMIS_ERR_FORMAT, "classifier.bias", tamis_encoder_create(context, folder, NULL, &made));
  write_text("model.safetensors", "\x08");
  FAILS(TAMIS_ERR_FORMAT, "safetensors", tamis_encoder_create(context, folder, NULL, &made));
  unlink(file);
  FAILS(TAMIS_ERR_NOT_FOUND, "pytorch_model.bin", tamis_encoder_create(context, folder, NULL, &made));
  write_text("pytorch_model.bin", "\x80\x02" "cos\nsystem\n.");
  FAILS(TAMIS_ERR_FORMAT, "torch.save", tamis_encoder_create(context, folder, NULL, &made));
  unlink(file);
  write_text("config.json", "{\"model_type\":\"gpt2\"}");
  FAILS(TAMIS_ERR_UNSUPPORTED, "gpt2", tamis_encoder_create(context, folder, NULL, &made));
  CHECK(made == NULL);
}

void test_encoder(void) {
  const char *directory = getenv("TMPDIR");
  tamis_encoder_options options;
  tamis_encoder *encoder = NULL;
  tamis_context *context = make_context(2);
  snprintf(folder, sizeof folder, "%s/tamis-encoder-%ld", directory ? directory : "/tmp", (long)getpid());
  if (mkdir(folder, 0700) != 0) return;
  make_model();
  write_weights_without("");
  memset(&options, 0xee, sizeof options);
  tamis_encoder_options_init(&options);
  CHECK(options.struct_size == sizeof options && options.precision == TAMIS_PRECISION_STORED && options.added_rows == 0);
  tamis_encoder_options_init(NULL);
  OK(tamis_encoder_create(context, folder, &options, &encoder));
  if (encoder) {
    test_info(context, encoder);
    test_call_errors(encoder);
    test_cancelling(context, encoder);
    test_bad_folders(context); /* the files are gone; the encoder does not need them */
    tamis_context_destroy(context);
    test_results(encoder, 0);
    test_results(encoder, 1);
  }
  tamis_encoder_destroy(encoder);
  tamis_encoder_destroy(NULL);
  snprintf(file, sizeof file, "%s/config.json", folder);
  unlink(file);
  rmdir(folder);
}
