/* Snapshots: there and back, every kind of wrong file, all or nothing. */
#include <unistd.h>

#include "check.h"

enum { HEADS = 2, D = 8, PAGE = 16, MAX = 128 };
static float k[HEADS * 40 * D], v[HEADS * 40 * D], back[HEADS * 40 * D];

static tamis_kv_cache *make(tamis_context *c, int64_t max_tokens) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_kv_cache *cache = NULL;
  o.kv_heads = HEADS;
  o.head_dim = D;
  o.page_tokens = PAGE;
  o.max_tokens = max_tokens;
  OK(tamis_kv_create(c, &o, &cache));
  return cache;
}

static int32_t refuse(double done, void *user) {
  (void)done;
  (void)user;
  return 0;
}

static int64_t pages_used(tamis_kv_cache *cache) {
  tamis_kv_memory m;
  memset(&m, 0, sizeof m);
  m.struct_size = sizeof m;
  OK(tamis_kv_memory_report(cache, &m));
  return m.pages_used;
}

static size_t read_file(const char *path, unsigned char *bytes, size_t capacity) {
  FILE *f = fopen(path, "rb");
  size_t n = f ? fread(bytes, 1, capacity, f) : 0;
  if (f) fclose(f);
  return n;
}

static void write_file(const char *path, const unsigned char *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f) return;
  CHECK(fwrite(bytes, 1, n, f) == n);
  fclose(f);
}

static void test_round_trip(tamis_context *c, const char *path, tamis_kv_cache *cache, const tamis_sequence *names) {
  OK(tamis_kv_save(cache, NULL, 0, path, 0, NULL, NULL));
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  int32_t n = -1;
  OK(tamis_kv_snapshot_info(path, &o, &n));
  CHECK(n == 2 && o.kv_heads == HEADS && o.head_dim == D && o.page_tokens == PAGE && o.scoring_copy == -1);

  tamis_kv_cache *fresh = make(c, MAX);
  tamis_sequence restored[4] = {-1, -1, -1, -1};
  n = -1;
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_kv_restore(fresh, path, restored, 1, &n, NULL, NULL));
  CHECK(n == 2 && restored[0] == -1 && pages_used(fresh) == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_kv_restore(fresh, path, NULL, 0, &n, NULL, NULL));
  OK(tamis_kv_restore(fresh, path, restored, 4, &n, NULL, NULL));
  CHECK(n == 2 && restored[2] == -1);
  int64_t tokens = 0;
  OK(tamis_kv_length(fresh, restored[0], 0, &tokens));
  CHECK(tokens == 40);
  tamis_tensor t = tensor(back, TAMIS_F32, 3, HEADS, 40, D);
  OK(tamis_kv_read(fresh, restored[0], 0, 0, &t, NULL));
  CHECK(memcmp(back, k, sizeof k) == 0);
  CHECK(pages_used(fresh) == pages_used(cache)); /* what was shared is shared again */
  tamis_kv_destroy(fresh);

  OK(tamis_kv_save(cache, names + 1, 1, path, 19, NULL, NULL));
  OK(tamis_kv_snapshot_info(path, &o, &n));
  CHECK(n == 1);
  OK(tamis_kv_save(cache, NULL, 0, path, 0, NULL, NULL));
}

static void test_errors(tamis_context *c, const char *path, tamis_kv_cache *cache, const tamis_sequence *names) {
  tamis_kv_options o = TAMIS_KV_OPTIONS_INIT;
  tamis_sequence out[4];
  int32_t n = 0;
  const tamis_sequence wrong = 777;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_save(NULL, NULL, 0, path, 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_kv_save(cache, NULL, 0, NULL, 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_kv_save(cache, NULL, 0, "", 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_kv_save(cache, NULL, 0, "\xff\xfe", 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "level", tamis_kv_save(cache, NULL, 0, path, 20, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "level", tamis_kv_save(cache, NULL, 0, path, -1, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "sequences", tamis_kv_save(cache, NULL, 1, path, 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_kv_save(cache, names, -1, path, 0, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_kv_save(cache, names, 0, path, 0, NULL, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "sequence", tamis_kv_save(cache, &wrong, 1, path, 0, NULL, NULL));
  FAILS(TAMIS_ERR_IO, "", tamis_kv_save(cache, NULL, 0, "/nonexistent-directory/x.tamis", 0, NULL, NULL));
  FAILS(TAMIS_ERR_CANCELLED, "", tamis_kv_save(cache, NULL, 0, path, 0, refuse, NULL));
  OK(tamis_kv_snapshot_info(path, &o, &n)); /* the old file is still whole */
  FAILS(TAMIS_ERR_CANCELLED, "", tamis_kv_restore(cache, path, out, 4, &n, refuse, NULL));

  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_restore(cache, "/nonexistent", out, 4, &n, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_kv_restore(cache, NULL, out, 4, &n, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "cache", tamis_kv_restore(NULL, path, out, 4, &n, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is NULL", tamis_kv_restore(cache, path, out, 4, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "sequences", tamis_kv_restore(cache, path, NULL, 4, &n, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "capacity", tamis_kv_restore(cache, path, out, -1, &n, NULL, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_kv_snapshot_info("/nonexistent", &o, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_kv_snapshot_info(NULL, &o, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options", tamis_kv_snapshot_info(path, NULL, &n));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_sequences", tamis_kv_snapshot_info(path, &o, NULL));

  tamis_kv_cache *small = make(c, 32); /* two pages: too few for the snapshot */
  FAILS(TAMIS_ERR_CACHE_FULL, "", tamis_kv_restore(small, path, out, 4, &n, NULL, NULL));
  CHECK(pages_used(small) == 0);
  tamis_kv_destroy(small);
  tamis_kv_cache *other = NULL;
  tamis_kv_options mismatch = TAMIS_KV_OPTIONS_INIT;
  OK(tamis_kv_create(c, &mismatch, &other));
  CHECK(tamis_kv_restore(other, path, out, 4, &n, NULL, NULL) != TAMIS_OK);
  CHECK(pages_used(other) == 0);
  tamis_kv_destroy(other);
}

/* Cut short at every length of the head and at steps beyond, and every byte flipped: an error, and nothing restored. */
static void test_corruption(tamis_context *c, const char *path) {
  static unsigned char bytes[1 << 16], copy[1 << 16];
  tamis_kv_cache *cache = make(c, MAX);
  tamis_sequence out[4];
  int32_t n = 0, refused = 0, tried = 0;
  size_t size = read_file(path, bytes, sizeof bytes);
  CHECK(size > 64 && size < sizeof bytes);
  for (size_t cut = 0; cut < size; cut += cut < 256 ? 1 : 61) {
    write_file(path, bytes, cut);
    tried++;
    refused += tamis_kv_restore(cache, path, out, 4, &n, NULL, NULL) == TAMIS_ERR_FORMAT;
  }
  CHECK(refused == tried);
  refused = tried = 0;
  for (size_t at = 0; at < size; at += at < 256 ? 1 : 37) {
    memcpy(copy, bytes, size);
    copy[at] ^= 0x40;
    write_file(path, copy, size);
    tamis_status status = tamis_kv_restore(cache, path, out, 4, &n, NULL, NULL);
    tried++;
    refused += status != TAMIS_OK;
    for (int32_t i = 0; status == TAMIS_OK && i < n; i++) OK(tamis_kv_sequence_destroy(cache, out[i]));
  }
  printf("snapshots: %d of %d flipped bytes refused\n", refused, tried);
  CHECK(refused == tried);
  memcpy(copy, bytes, size);
  memset(copy + size, 0, 100);
  write_file(path, copy, size + 100);
  FAILS(TAMIS_ERR_FORMAT, "", tamis_kv_restore(cache, path, out, 4, &n, NULL, NULL));
  CHECK(pages_used(cache) == 0);
  write_file(path, bytes, size);
  OK(tamis_kv_restore(cache, path, out, 4, &n, NULL, NULL));
  tamis_kv_destroy(cache);
}

void test_snapshots(void) {
  char path[256];
  const char *directory = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/tamis-test-%ld.snapshot", directory ? directory : "/tmp", (long)getpid());
  tamis_context *c = make_context(2);
  tamis_kv_cache *cache = make(c, MAX);
  tamis_sequence names[2] = {-1, -1};
  fill_random(k, sizeof k / sizeof *k, 7);
  fill_random(v, sizeof v / sizeof *v, 8);
  tamis_tensor tk = tensor(k, TAMIS_F32, 3, HEADS, 40, D), tv = tensor(v, TAMIS_F32, 3, HEADS, 40, D);
  OK(tamis_kv_sequence_create(cache, &names[0]));
  OK(tamis_kv_append(cache, names[0], 0, &tk, &tv));
  OK(tamis_kv_sequence_fork(cache, names[0], 32, &names[1]));
  test_round_trip(c, path, cache, names);
  test_errors(c, path, cache, names);
  test_corruption(c, path);
  tamis_kv_destroy(cache);
  tamis_context_destroy(c);
  unlink(path);
}
