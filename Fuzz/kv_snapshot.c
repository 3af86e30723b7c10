/* Snapshots that were tampered with: tamis_kv_snapshot_info and tamis_kv_restore refuse them or restore whole sequences. */
#include "file.h"
#include "seal.h"

static tamis_kv_cache *cache;
static uint8_t whole[FILE_CAPACITY], changed[FILE_CAPACITY];
static size_t whole_size;

static void set_up(void) {
  enum { HEADS = 2, N = 40, D = 8 };
  static float rows[HEADS * N * D];
  tamis_context *context = NULL;
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_sequence s, forked;
  tamis_tensor t;
  char path[] = "/tmp/tamis-fuzz-XXXXXX";
  for (int i = 0; i < HEADS * N * D; i++) rows[i] = (float)(i * 37 % 101) / 101.0f;
  memset(&t, 0, sizeof t);
  t.data = rows;
  t.ndim = 3;
  t.shape[0] = HEADS, t.shape[1] = N, t.shape[2] = D;
  t.stride[0] = N * D, t.stride[1] = D, t.stride[2] = 1;
  o.kv_heads = HEADS;
  o.head_dim = D;
  o.page_tokens = 16;
  o.max_tokens = 256;
  MUST(tamis_context_create(NULL, &context) == TAMIS_OK);
  MUST(tamis_kv_create(context, &o, &cache) == TAMIS_OK);
  tamis_context_destroy(context);
  MUST(tamis_kv_sequence_create(cache, &s) == TAMIS_OK);
  MUST(tamis_kv_append(cache, s, 0, &t, &t) == TAMIS_OK);
  MUST(tamis_kv_sequence_fork(cache, s, 20, &forked) == TAMIS_OK);
  int file = mkstemp(path);
  MUST(file >= 0);
  close(file);
  MUST(tamis_kv_save(cache, NULL, 0, path, 0, NULL, NULL) == TAMIS_OK);
  FILE *f = fopen(path, "rb");
  MUST(f != NULL);
  whole_size = fread(whole, 1, sizeof whole, f);
  fclose(f);
  unlink(path);
  MUST(whole_size > 0 && whole_size < sizeof whole);
  MUST(tamis_kv_sequence_destroy(cache, s) == TAMIS_OK && tamis_kv_sequence_destroy(cache, forked) == TAMIS_OK);
}

static int64_t pages_used(void) {
  tamis_kv_memory m;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  MUST(tamis_kv_memory_report(cache, &m) == TAMIS_OK);
  return m.pages_used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input in = {data, size};
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_sequence names[8];
  int32_t n = 0;
  if (!cache) set_up();
  const int sealed = !chance(&in, 4);
  const size_t length = mutate(&in, whole, whole_size, changed);
  if (sealed) seal(changed, length);
  const char *path = file_in_memory(changed, length);
  judged(tamis_kv_snapshot_info(path, &o, &n));
  if (judged(tamis_kv_restore(cache, path, names, 8, &n, NULL, NULL)) == TAMIS_OK) {
    MUST(n >= 0 && n <= 8);
    for (int32_t i = 0; i < n; i++) {
      int64_t tokens = -1;
      MUST(tamis_kv_length(cache, names[i], 0, &tokens) == TAMIS_OK && tokens >= 0 && tokens <= 256);
      MUST(tamis_kv_sequence_destroy(cache, names[i]) == TAMIS_OK);
    }
  }
  MUST(pages_used() == 0); /* all or nothing */
  return 0;
}
