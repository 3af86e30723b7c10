/* A folder with a compressor of a few hundred weights: BERT of one layer with a head of two labels, and its vocabulary. */
#ifndef TAMIS_FUZZ_TINY_MODEL_H
#define TAMIS_FUZZ_TINY_MODEL_H

#include <unistd.h>

#include "input.h"

enum { TINY_HIDDEN = 8, TINY_INNER = 4, TINY_VOCABULARY = 16, TINY_POSITIONS = 24 };

static char tiny_folder[] = "/tmp/tamis-fuzz-model-XXXXXX";
static const char *const tiny_names[] = {"config.json", "model.safetensors", "vocab.txt"};

static const char tiny_config[] =
    "{\"model_type\":\"bert\",\"num_hidden_layers\":1,\"hidden_size\":8,\"num_attention_heads\":1,\"intermediate_size\":4,"
    "\"vocab_size\":16,\"max_position_embeddings\":24,\"type_vocab_size\":2,\"layer_norm_eps\":1e-12,\"pad_token_id\":0,"
    "\"hidden_act\":\"gelu\",\"architectures\":[\"BertForTokenClassification\"],\"id2label\":{\"0\":\"drop\",\"1\":\"keep\"}}";
static const char tiny_vocabulary[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\nab\nthe\ncat\n##s\n.\n3\n##5\nwhy\n?\n";

static const struct {
  const char *name;
  int rows, columns; /* rows 0: a vector */
} tiny_tensors[] = {
    {"bert.embeddings.word_embeddings.weight", TINY_VOCABULARY, TINY_HIDDEN},
    {"bert.embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_HIDDEN},
    {"bert.embeddings.token_type_embeddings.weight", 2, TINY_HIDDEN},
    {"bert.embeddings.LayerNorm.weight", 0, TINY_HIDDEN},
    {"bert.embeddings.LayerNorm.bias", 0, TINY_HIDDEN},
#define TINY_LAYER(name) "bert.encoder.layer.0." name
    {TINY_LAYER("attention.self.query.weight"), TINY_HIDDEN, TINY_HIDDEN},
    {TINY_LAYER("attention.self.query.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("attention.self.key.weight"), TINY_HIDDEN, TINY_HIDDEN},
    {TINY_LAYER("attention.self.key.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("attention.self.value.weight"), TINY_HIDDEN, TINY_HIDDEN},
    {TINY_LAYER("attention.self.value.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("attention.output.dense.weight"), TINY_HIDDEN, TINY_HIDDEN},
    {TINY_LAYER("attention.output.dense.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("attention.output.LayerNorm.weight"), 0, TINY_HIDDEN},
    {TINY_LAYER("attention.output.LayerNorm.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("intermediate.dense.weight"), TINY_INNER, TINY_HIDDEN},
    {TINY_LAYER("intermediate.dense.bias"), 0, TINY_INNER},
    {TINY_LAYER("output.dense.weight"), TINY_HIDDEN, TINY_INNER},
    {TINY_LAYER("output.dense.bias"), 0, TINY_HIDDEN},
    {TINY_LAYER("output.LayerNorm.weight"), 0, TINY_HIDDEN},
    {TINY_LAYER("output.LayerNorm.bias"), 0, TINY_HIDDEN},
    {"classifier.weight", 2, TINY_HIDDEN},
    {"classifier.bias", 0, 2},
};
enum { TINY_TENSORS = sizeof tiny_tensors / sizeof *tiny_tensors };

static inline void tiny_remove(void) {
  char path[96];
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "%s/%s", tiny_folder, tiny_names[i]);
    unlink(path);
  }
  rmdir(tiny_folder);
}

static inline FILE *tiny_file(int i) {
  char path[96];
  snprintf(path, sizeof path, "%s/%s", tiny_folder, tiny_names[i]);
  FILE *file = fopen(path, "wb");
  MUST(file != NULL);
  return file;
}

static inline void tiny_write(int i, const void *bytes, size_t n) {
  FILE *file = tiny_file(i);
  MUST(fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

static inline void tiny_safetensors(void) {
  static char header[4096];
  size_t n = 0, at = 0;
  for (int i = 0; i < TINY_TENSORS; i++) {
    const int rows = tiny_tensors[i].rows, columns = tiny_tensors[i].columns;
    const size_t bytes = 4 * (size_t)(rows ? rows : 1) * (size_t)columns;
    char shape[32];
    if (rows) snprintf(shape, sizeof shape, "%d,%d", rows, columns);
    else snprintf(shape, sizeof shape, "%d", columns);
    n += (size_t)snprintf(header + n, sizeof header - n,
                          "%c\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? ',' : '{',
                          tiny_tensors[i].name, shape, at, at + bytes);
    at += bytes;
  }
  header[n++] = '}';
  while (n % 8) header[n++] = ' ';
  FILE *file = tiny_file(1);
  MUST(fwrite(&(uint64_t){n}, 8, 1, file) == 1 && fwrite(header, 1, n, file) == n);
  for (size_t i = 0; i < at / 4; i++) {
    const float value = (float)((i * 7 + i / 5) % 11) / 11.0f - 0.4f;
    MUST(fwrite(&value, sizeof value, 1, file) == 1);
  }
  MUST(fclose(file) == 0);
}

/* Writes the folder; it is removed when the program ends. */
static inline const char *tiny_model(void) {
  MUST(mkdtemp(tiny_folder) != NULL);
  atexit(tiny_remove);
  tiny_write(0, tiny_config, sizeof tiny_config - 1);
  tiny_safetensors();
  tiny_write(2, tiny_vocabulary, sizeof tiny_vocabulary - 1);
  return tiny_folder;
}

#endif
