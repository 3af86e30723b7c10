/* tamis/weights.h: a file written by hand, and the many that are wrong. */
#include <unistd.h>

#include "check.h"

static char path[256];

static void write_weights(const char *header, uint64_t header_size, const void *data, size_t data_size) {
  FILE *f = fopen(path, "wb");
  unsigned char size[8];
  if (!f) return;
  for (int i = 0; i < 8; i++) size[i] = (unsigned char)(header_size >> (8 * i));
  fwrite(size, 1, 8, f);
  fwrite(header, 1, strlen(header), f);
  fwrite(data, 1, data_size, f);
  fclose(f);
}

static void test_good(void) {
  const char *header =
      "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
      "\"a\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
      "\"u\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[32,34]}}";
  char padded[512]; /* to a multiple of 8, as the format's writers do, so that the data is aligned */
  float data[9] = {1, 2, 3, 4, 5, 6, 0, 0, 0};
  char name[16];
  size_t needed = 0;
  tamis_weights *w = NULL;
  tamis_tensor t;
  memset(&t, 0, sizeof t);
  snprintf(padded, sizeof padded, "%s%*s", header, (int)(8 - strlen(header) % 8), "");
  write_weights(padded, strlen(padded), data, 34);
  OK(tamis_weights_open(path, &w));
  if (!w) return;
  CHECK(tamis_weights_count(w) == 3);
  OK(tamis_weights_name(w, 0, name, sizeof name, &needed));
  CHECK(strcmp(name, "b") == 0 && needed == 1);
  OK(tamis_weights_name(w, 1, name, sizeof name, &needed));
  CHECK(strcmp(name, "a\xc3\xa9") == 0 && needed == 3);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_weights_name(w, 1, name, 3, &needed));
  CHECK(strcmp(name, "a") == 0); /* whole characters only */
  OK(tamis_weights_get(w, "b", &t));
  CHECK(t.dtype == TAMIS_F32 && t.ndim == 2 && t.shape[0] == 2 && t.shape[1] == 3 && t.stride[0] == 3 && t.stride[1] == 1);
  CHECK(t.data && memcmp(t.data, data, 24) == 0 && t.scale == NULL);
  OK(tamis_weights_get(w, "a\xc3\xa9", &t));
  CHECK(t.dtype == TAMIS_BF16 && t.shape[0] == 4);
  FAILS(TAMIS_ERR_UNSUPPORTED, "u", tamis_weights_get(w, "u", &t));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_weights_get(w, "missing", &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "name", tamis_weights_get(w, NULL, &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_weights_get(w, "b", NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "weights", tamis_weights_get(NULL, "b", &t));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is", tamis_weights_name(w, 3, name, sizeof name, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "i is", tamis_weights_name(w, -1, name, sizeof name, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "buffer", tamis_weights_name(w, 0, NULL, 4, &needed));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "weights", tamis_weights_name(NULL, 0, name, sizeof name, &needed));
  CHECK(tamis_weights_count(NULL) == 0);
  tamis_weights_close(w);
  tamis_weights_close(NULL);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_weights_open(NULL, &w));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_weights_open("", &w));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_weights_open(path, NULL));
  FAILS(TAMIS_ERR_NOT_FOUND, "", tamis_weights_open("/nonexistent", &w));
  CHECK(tamis_weights_open("/", &w) != TAMIS_OK); /* a directory */
}

/* Data that the file does not align to its elements cannot be a view. */
static void test_unaligned(void) {
  const char *header = "{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  const float one = 1;
  tamis_weights *w = NULL;
  tamis_tensor t;
  char shifted[128];
  snprintf(shifted, sizeof shifted, "%s%*s", header, (int)(9 - strlen(header) % 8), "");
  write_weights(shifted, strlen(shifted), &one, 4);
  OK(tamis_weights_open(path, &w));
  FAILS(TAMIS_ERR_UNSUPPORTED, "t", tamis_weights_get(w, "t", &t));
  tamis_weights_close(w);
}

static void refused(const char *header, uint64_t size, size_t data_size) {
  tamis_weights *w = NULL;
  static const char zeros[64];
  write_weights(header, size == 0 ? strlen(header) : size, zeros, data_size);
  FAILS(TAMIS_ERR_FORMAT, "", tamis_weights_open(path, &w));
  CHECK(w == NULL);
}

#define ONE(fields) "{\"t\":{" fields "}}"

static void test_wrong(void) {
  refused(ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 0, 4);       /* truncated */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 0, 12);      /* a gap at the end */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]"), 0, 8);       /* shape does not fit */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"), 0, 8);       /* backwards */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"), 0, 8);      /* negative */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"), 0, 8); /* overflow */
  refused(ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,18446744073709551615]"), 0, 8);
  refused(ONE("\"dtype\":\"F32\",\"shape\":[2]"), 0, 8);                              /* no offsets */
  refused(ONE("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), 0, 8);         /* wrong type */
  refused("{\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
          "\"t\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 0, 8);   /* a name twice */
  refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
          "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 0, 8);   /* overlap */
  refused("{", 0, 0);
  refused("not json at all", 0, 0);
  refused("{}", UINT64_MAX, 0);
  refused("{}", 200000000, 0);
  refused("{}", 3, 0);
  tamis_weights *w = NULL;
  FILE *f = fopen(path, "wb");
  if (f) fclose(f);
  FAILS(TAMIS_ERR_FORMAT, "", tamis_weights_open(path, &w)); /* empty */
}

void test_weights(void) {
  const char *directory = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/tamis-test-%ld.safetensors", directory ? directory : "/tmp", (long)getpid());
  test_good();
  test_unaligned();
  test_wrong();
  unlink(path);
}
