/* safetensors files that were tampered with: refused, or every tensor lies inside the file. */
#include "file.h"

static const char header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
    "\"b\\n\\u00e9\":{\"dtype\":\"BF16\",\"shape\":[4,1],\"data_offsets\":[24,32]},"
    "\"d\":{\"dtype\":\"F16\",\"shape\":[2,2,2],\"data_offsets\":[32,48]},"
    "\"c\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[48,49]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t whole[1024], changed[FILE_CAPACITY];
  static size_t whole_size;
  input in = {data, size};
  tamis_weights *weights = NULL;
  if (!whole_size) {
    const uint64_t n = (sizeof header - 1 + 7) & ~(uint64_t)7; /* padded with spaces, as the format asks */
    memset(whole, ' ', 8 + n);
    memcpy(whole, &n, 8);
    memcpy(whole + 8, header, sizeof header - 1);
    memset(whole + 8 + n, 1, 49);
    whole_size = 8 + n + 49;
  }
  const size_t length = mutate(&in, whole, whole_size, changed);
  if (judged(tamis_weights_open(file_in_memory(changed, length), &weights)) != TAMIS_OK) return 0;
  const int64_t count = tamis_weights_count(weights);
  MUST(count >= 0 && count <= 1000);
  for (int64_t i = 0; i < count; i++) {
    char name[512];
    size_t needed = 0;
    tamis_tensor t;
    if (judged(tamis_weights_name(weights, i, name, sizeof name, &needed)) != TAMIS_OK) continue;
    if (strlen(name) != needed || judged(tamis_weights_get(weights, name, &t)) != TAMIS_OK) continue;
    int64_t elements = 1;
    for (int32_t k = 0; k < t.ndim; k++) elements *= t.shape[k];
    const volatile uint8_t *bytes = (const volatile uint8_t *)t.data;
    const int64_t n = elements * (int64_t)tamis_dtype_size(t.dtype);
    MUST(n >= 0 && n <= (int64_t)length);
    if (n > 0) (void)(bytes[0] + bytes[n - 1]);
  }
  tamis_weights_close(weights);
  return 0;
}
