/* A model folder whose pytorch_model.bin (zip or older form, or its pickle alone with a checksum that fits) or config.json was
 * tampered with: refused, or a model that runs. The folder's files are links to files in memory. */
#include "file.h"

enum { H = 8, F = 4, V = 3, P = 3, CAPACITY = FILE_CAPACITY / 4 };

typedef struct bytes {
  size_t n;
  uint8_t at[CAPACITY];
} bytes;

static void put(bytes *b, const void *from, size_t n) {
  MUST(b->n + n <= CAPACITY);
  memcpy(b->at + b->n, from, n);
  b->n += n;
}
static void put_u8(bytes *b, unsigned x) { put(b, &(uint8_t){(uint8_t)x}, 1); }
static void put_u16(bytes *b, unsigned x) { put(b, &(uint16_t){(uint16_t)x}, 2); }
static void put_u32(bytes *b, size_t x) { put(b, &(uint32_t){(uint32_t)x}, 4); }
static void put_text(bytes *b, const char *text) { put(b, text, strlen(text)); }
static void put_unicode(bytes *b, const char *text) {
  put_u8(b, 'X');
  put_u32(b, strlen(text));
  put_text(b, text);
}
static void put_int(bytes *b, int x) {
  put_u8(b, 'J');
  put_u32(b, (size_t)x);
}

/* ------------------------------------------------------------------------------------------------ the model */

static const char config[] =
    "{\"model_type\":\"bert\",\"num_hidden_layers\":1,\"hidden_size\":8,\"num_attention_heads\":1,\"intermediate_size\":4,"
    "\"vocab_size\":3,\"max_position_embeddings\":3,\"type_vocab_size\":1,\"layer_norm_eps\":1e-12,\"pad_token_id\":0,"
    "\"hidden_act\":\"gelu\",\"architectures\":[\"BertForTokenClassification\"],\"id2label\":{\"0\":\"a\",\"1\":\"b\"}}";

static const struct {
  const char *name;
  int rows, columns; /* rows 0: a vector */
} tensors[] = {
    {"embeddings.word_embeddings.weight", V, H}, {"embeddings.position_embeddings.weight", P, H},
    {"embeddings.token_type_embeddings.weight", 1, H}, {"embeddings.LayerNorm.weight", 0, H},
    {"embeddings.LayerNorm.bias", 0, H},
#define LAYER(name) "encoder.layer.0." name
    {LAYER("attention.self.query.weight"), H, H}, {LAYER("attention.self.query.bias"), 0, H},
    {LAYER("attention.self.key.weight"), H, H}, {LAYER("attention.self.key.bias"), 0, H},
    {LAYER("attention.self.value.weight"), H, H}, {LAYER("attention.self.value.bias"), 0, H},
    {LAYER("attention.output.dense.weight"), H, H}, {LAYER("attention.output.dense.bias"), 0, H},
    {LAYER("attention.output.LayerNorm.weight"), 0, H}, {LAYER("attention.output.LayerNorm.bias"), 0, H},
    {LAYER("intermediate.dense.weight"), F, H}, {LAYER("intermediate.dense.bias"), 0, F},
    {LAYER("output.dense.weight"), H, F}, {LAYER("output.dense.bias"), 0, H},
    {LAYER("output.LayerNorm.weight"), 0, H}, {LAYER("output.LayerNorm.bias"), 0, H},
    {"classifier.weight", 2, H}, {"classifier.bias", 0, 2},
};
enum { TENSORS = sizeof tensors / sizeof *tensors };

static size_t elements(int i) { return (size_t)(tensors[i].rows ? tensors[i].rows : 1) * (size_t)tensors[i].columns; }

static bytes dictionary, zip, legacy, room;

static void make_dictionary(void) {
  put_text(&dictionary, "\x80\x02}(");
  for (int i = 0; i < TENSORS; i++) {
    char key[4];
    snprintf(key, sizeof key, "%d", i);
    put_unicode(&dictionary, tensors[i].name);
    put_text(&dictionary, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_unicode(&dictionary, "storage");
    put_text(&dictionary, "ctorch\nFloatStorage\n");
    put_unicode(&dictionary, key);
    put_unicode(&dictionary, "cpu");
    put_int(&dictionary, (int)elements(i));
    put_text(&dictionary, "tQK");
    put_u8(&dictionary, 0);
    put_u8(&dictionary, '(');
    if (tensors[i].rows) put_int(&dictionary, tensors[i].rows);
    put_int(&dictionary, tensors[i].columns);
    put_text(&dictionary, "t(");
    if (tensors[i].rows) put_int(&dictionary, tensors[i].columns);
    put_text(&dictionary, "K\x01t\x89" "ccollections\nOrderedDict\n)RtR");
  }
  put_text(&dictionary, "u.");
}

static void put_storage(bytes *b, int i) {
  for (size_t k = 0; k < elements(i); k++) put(b, &(float){(float)((k * 7 + (size_t)i) % 11) / 11.0f}, 4);
}

static uint32_t crc32_of(const uint8_t *from, size_t n) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < n; i++) {
    crc ^= from[i];
    for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
  }
  return ~crc;
}

/* A stored entry, and its line of the directory. */
static void put_entry(bytes *b, bytes *directory, const char *name, const uint8_t *from, size_t n) {
  const size_t offset = b->n;
  const uint32_t crc = crc32_of(from, n);
  for (int line = 0; line < 2; line++) {
    bytes *to = line ? directory : b;
    put_u32(to, line ? 0x02014b50u : 0x04034b50u);
    if (line) put_u16(to, 20);
    put_u16(to, 20);
    put_u16(to, 0);
    put_u16(to, 0);
    put_u32(to, 0);
    put_u32(to, crc);
    put_u32(to, n);
    put_u32(to, n);
    put_u16(to, (unsigned)strlen(name));
    put_u16(to, 0);
    if (line) {
      put_u16(to, 0);
      put_u16(to, 0);
      put_u16(to, 0);
      put_u32(to, 0);
      put_u32(to, offset);
    }
    put_text(to, name);
  }
  put(b, from, n);
}

static void make_zip(bytes *b, const uint8_t *pickle, size_t n) {
  static bytes directory, storage;
  b->n = directory.n = 0;
  put_entry(b, &directory, "m/data.pkl", pickle, n);
  for (int i = 0; i < TENSORS; i++) {
    char name[16];
    snprintf(name, sizeof name, "m/data/%d", i);
    storage.n = 0;
    put_storage(&storage, i);
    put_entry(b, &directory, name, storage.at, storage.n);
  }
  const size_t start = b->n;
  put(b, directory.at, directory.n);
  put_u32(b, 0x06054b50u);
  put_u32(b, 0);
  put_u16(b, TENSORS + 1);
  put_u16(b, TENSORS + 1);
  put_u32(b, directory.n);
  put_u32(b, start);
  put_u16(b, 0);
}

static void make_legacy(void) {
  static const uint8_t head[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
  put(&legacy, head, sizeof head);
  put_text(&legacy, "\x80\x02M\xe9\x03.\x80\x02}.");
  put(&legacy, dictionary.at, dictionary.n);
  put_text(&legacy, "\x80\x02](");
  for (int i = 0; i < TENSORS; i++) {
    char key[4];
    snprintf(key, sizeof key, "%d", i);
    put_unicode(&legacy, key);
  }
  put_text(&legacy, "e.");
  for (int i = 0; i < TENSORS; i++) {
    put(&legacy, &(uint64_t){elements(i)}, 8);
    put_storage(&legacy, i);
  }
}

/* ------------------------------------------------------------------------------------------------ target */

static char folder[] = "/tmp/tamis-fuzz-XXXXXX";
static int files[2];
static tamis_context *context;

static void show(int which, const uint8_t *from, size_t n) {
  MUST(ftruncate(files[which], 0) == 0);
  MUST(pwrite(files[which], from, n, 0) == (ssize_t)n);
}

static void take_away(void) {
  char link[64];
  const char *names[] = {"config.json", "pytorch_model.bin"};
  for (int i = 0; i < 2; i++) {
    snprintf(link, sizeof link, "%s/%s", folder, names[i]);
    unlink(link);
  }
  rmdir(folder);
}

static void set_up(void) {
  const char *names[] = {"config.json", "pytorch_model.bin"};
  MUST(mkdtemp(folder) != NULL);
  atexit(take_away);
  for (int i = 0; i < 2; i++) {
    char target[32], link[64];
    files[i] = memfd_create(names[i], 0);
    MUST(files[i] >= 0);
    snprintf(target, sizeof target, "/proc/self/fd/%d", files[i]);
    snprintf(link, sizeof link, "%s/%s", folder, names[i]);
    MUST(symlink(target, link) == 0);
  }
  make_dictionary();
  make_zip(&zip, dictionary.at, dictionary.n);
  make_legacy();
  MUST(tamis_context_create(NULL, &context) == TAMIS_OK);
}

static tamis_status run(void) {
  static const int32_t ids[] = {0, 2, 1, 1};
  static const int64_t starts[] = {0, 3, 4};
  const tamis_ragged batch = {ids, starts, 2, NULL};
  static float out[4 * 64];
  tamis_encoder *encoder = NULL;
  tamis_encoder_info info = TAMIS_ENCODER_INFO_INIT;
  tamis_tensor t;
  const tamis_status status = judged(tamis_encoder_create(context, folder, NULL, &encoder));
  if (status != TAMIS_OK) return status;
  MUST(tamis_encoder_get_info(encoder, &info) == TAMIS_OK);
  MUST(info.hidden >= 1 && info.vocabulary >= 1 && info.max_tokens >= 1 && info.labels >= 0);
  if (info.labels > 0 && info.labels <= 64) {
    memset(&t, 0, sizeof t);
    t.data = out;
    t.ndim = 2;
    t.shape[0] = 4, t.shape[1] = info.labels;
    t.stride[0] = info.labels, t.stride[1] = 1;
    judged(tamis_encoder_classify(encoder, &batch, TAMIS_CLASS_PROBABILITIES, &t, NULL, NULL));
  }
  tamis_encoder_destroy(encoder);
  return status;
}

/* A good model with arguments from the fuzz bytes; every array has the room its counts can ask for, or is refused. */
static void call(input *in) {
  static tamis_encoder *good;
  static int32_t ids[64], types[64];
  static int64_t starts[10];
  static float out[64 * H];
  char label[4];
  size_t needed;
  if (!good) MUST(tamis_encoder_create(context, folder, NULL, &good) == TAMIS_OK);
  int64_t at = 0;
  const int64_t sequences = below(in, 8);
  for (int64_t i = 0; i < 9; i++) {
    starts[i] = at;
    at += below(in, 5);
  }
  for (int i = 0; i < 64; i++) ids[i] = (int32_t)below(in, V), types[i] = 0;
  if (chance(in, 8)) starts[below(in, 9)] = wild(in);
  for (int i = 0; i < 10; i++)
    if (starts[i] > 64 && starts[i] <= INT32_MAX) starts[i] = 64; /* what the arrays hold */
  if (chance(in, 8)) ids[below(in, 64)] = wild32(in);
  if (chance(in, 8)) types[below(in, 64)] = wild32(in);
  tamis_ragged batch = {chance(in, 16) ? NULL : ids, chance(in, 16) ? NULL : starts,
                        chance(in, 16) ? -wild(in) % 8 : sequences, chance(in, 2) ? NULL : types};
  tamis_tensor t;
  memset(&t, 0, sizeof t);
  t.data = chance(in, 16) ? NULL : chance(in, 16) ? (void *)ids : (void *)out;
  t.dtype = chance(in, 16) ? wild32(in) : TAMIS_F32;
  t.ndim = chance(in, 16) ? wild32(in) : 2;
  t.shape[0] = chance(in, 8) ? below(in, 64) : starts[sequences];
  t.shape[1] = chance(in, 4) ? below(in, 9) : chance(in, 2) ? H : 2;
  t.stride[0] = chance(in, 16) ? wild(in) : t.shape[1];
  t.stride[1] = chance(in, 16) ? wild(in) : 1;
  if (chance(in, 3)) t.shape[0] = sequences;
  tamis_encoder *encoder = chance(in, 24) ? NULL : good;
  const tamis_ragged *tokens = chance(in, 24) ? NULL : &batch;
  const tamis_tensor *to = chance(in, 24) ? NULL : &t;
  judged(tamis_encoder_states(encoder, tokens, to, NULL, NULL));
  judged(tamis_encoder_classify(encoder, tokens, chance(in, 8) ? wild32(in) : (int32_t)below(in, 2), to, NULL, NULL));
  judged(tamis_encoder_embed(encoder, tokens, (int32_t)below(in, 6) - 2, (int32_t)below(in, 5) - 2, to, NULL, NULL));
  judged(tamis_encoder_label(encoder, wild32(in), chance(in, 8) ? NULL : label, below(in, 5), &needed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t changed[FILE_CAPACITY];
  input in = {data, size};
  size_t n;
  if (!context) {
    set_up();
    show(0, (const uint8_t *)config, sizeof config - 1);
    show(1, zip.at, zip.n);
    MUST(run() == TAMIS_OK);
    show(1, legacy.at, legacy.n);
    MUST(run() == TAMIS_OK);
  }
  show(0, (const uint8_t *)config, sizeof config - 1);
  switch (below(&in, 10)) {
    case 8:
    case 9:
      show(1, zip.at, zip.n);
      call(&in);
      return 0;
    case 0:
      show(1, zip.at, zip.n);
      n = mutate(&in, (const uint8_t *)config, sizeof config - 1, changed);
      show(0, changed, n);
      break;
    case 1:
    case 2:
      n = mutate(&in, zip.at, zip.n, changed);
      show(1, changed, n);
      break;
    case 3:
    case 4:
      n = mutate(&in, legacy.at, legacy.n, changed);
      show(1, changed, n);
      break;
    default:
      n = mutate(&in, dictionary.at, dictionary.n, changed);
      if (n > dictionary.n) n = dictionary.n;
      make_zip(&room, changed, n);
      show(1, room.at, room.n);
  }
  run();
  return 0;
}
