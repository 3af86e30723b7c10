/* Every way in which a tamis_tensor can be wrong, through tamis_convert and tamis_attention. */
#include "check.h"

static float data[4096];
static float other[4096];

static tamis_status convert(tamis_context *c, tamis_tensor from, tamis_tensor to) { return tamis_convert(c, &from, &to); }

#define BAD(word, change)                                          \
  do {                                                             \
    tamis_tensor from = tensor(data, TAMIS_F32, 2, 4, 8);          \
    tamis_tensor to = tensor(other, TAMIS_F32, 2, 4, 8);           \
    change;                                                        \
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, word, convert(c, from, to)); \
  } while (0)

static void test_fields(tamis_context *c) {
  BAD("from->data", from.data = NULL);
  BAD("to->data", to.data = NULL);
  BAD("from->data", from.data = (char *)data + 1);
  BAD("from->data", from.data = (char *)data + 2);
  BAD("from->data", (from.data = (char *)data + 1, from.dtype = TAMIS_F16));
  BAD("from->dtype", from.dtype = 5);
  BAD("from->dtype", from.dtype = -1);
  BAD("from->dtype", from.dtype = INT32_MAX);
  BAD("from->ndim", from.ndim = 0);
  BAD("from->ndim", from.ndim = -1);
  BAD("from->ndim", from.ndim = 7);
  BAD("from->ndim", from.ndim = INT32_MIN);
  BAD("from->shape[0]", from.shape[0] = 0);
  BAD("from->shape[1]", from.shape[1] = -8);
  BAD("from->shape[0]", from.shape[0] = INT64_MAX);
  BAD("from->shape[1]", from.shape[1] = INT64_MIN);
  BAD("from->shape[0]", from.shape[0] = (int64_t)INT32_MAX + 1);
  BAD("to", to.shape[0] = 3);
  BAD("to", (to.ndim = 1, to.stride[0] = 1));
  tamis_tensor ints = tensor(data, TAMIS_I32, 2, 4, 8), floats = tensor(other, TAMIS_F32, 2, 4, 8);
  FAILS(TAMIS_ERR_UNSUPPORTED, "from->dtype", tamis_convert(c, &ints, &floats));
  FAILS(TAMIS_ERR_UNSUPPORTED, "to->dtype", tamis_convert(c, &floats, &ints));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "from", tamis_convert(c, NULL, &floats));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "to", tamis_convert(c, &floats, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_convert(NULL, &floats, &floats));
  _Alignas(8) char shifted[sizeof(tamis_tensor) + 8];
  memcpy(shifted + 4, &floats, sizeof floats);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "from", tamis_convert(c, (const tamis_tensor *)(const void *)(shifted + 4), &floats));
}

static void test_overflow(tamis_context *c) {
  BAD("from->stride[0]", from.stride[0] = INT64_MAX);
  BAD("from->stride[0]", from.stride[0] = INT64_MIN);
  BAD("from->stride[0]", from.stride[0] = INT64_MAX / 4);
  BAD("from->stride[0]", from.stride[0] = INT64_MAX / 16);
  BAD("from->", from.stride[0] = -((int64_t)1 << 50));
  BAD("from->", (from.stride[0] = INT64_MAX / 32, from.stride[1] = INT64_MAX / 32));
  BAD("from->data", from.data = (void *)(uintptr_t)0xfffffffffffffff0u);
  BAD("too many elements",
      (from.ndim = 3, from.shape[0] = from.shape[1] = from.shape[2] = INT32_MAX, from.stride[0] = from.stride[1] = 0));
  /* a dimension of one element never uses its stride */
  tamis_tensor from = tensor(data, TAMIS_F32, 2, 1, 8), to = tensor(other, TAMIS_F32, 2, 1, 8);
  from.stride[0] = INT64_MAX;
  to.stride[0] = INT64_MIN;
  OK(tamis_convert(c, &from, &to));
}

static void test_outputs(tamis_context *c) {
  BAD("overlap itself", to.stride[0] = 0);
  BAD("overlap itself", to.stride[1] = 0);
  BAD("overlap itself", to.stride[0] = 7);
  BAD("overlap itself", to.stride[1] = -1);
  BAD("overlaps", to.data = data);
  BAD("overlaps", to.data = data + 31);
  tamis_tensor from = tensor(data, TAMIS_F32, 2, 4, 8), to = tensor(data + 32, TAMIS_F32, 2, 4, 8);
  OK(tamis_convert(c, &from, &to)); /* neighbours touch but do not overlap */
}

/* Strides that inputs may have: 0, negative, transposed. */
static void test_input_strides(tamis_context *c) {
  for (int i = 0; i < 32; i++) data[i] = (float)i;
  tamis_tensor from = tensor(data, TAMIS_F32, 2, 4, 8), to = tensor(other, TAMIS_F32, 2, 4, 8);
  from.stride[0] = 0;
  OK(tamis_convert(c, &from, &to));
  CHECK(other[31] == 7.0f && other[0] == 0.0f);
  from = tensor(data + 31, TAMIS_F32, 2, 4, 8);
  from.stride[0] = -8;
  from.stride[1] = -1;
  OK(tamis_convert(c, &from, &to));
  CHECK(other[0] == 31.0f && other[31] == 0.0f);
  from = tensor(data, TAMIS_F32, 2, 8, 4);
  from.stride[0] = 1;
  from.stride[1] = 8;
  to = tensor(other, TAMIS_F32, 2, 8, 4);
  OK(tamis_convert(c, &from, &to));
  CHECK(other[1] == 8.0f && other[4] == 1.0f && other[31] == 31.0f);
}

static void test_scales(tamis_context *c) {
  int8_t bytes[32];
  float scale[4] = {1, 2, 3, 4};
  for (int i = 0; i < 32; i++) bytes[i] = (int8_t)(i - 16);
  tamis_tensor from = tensor(bytes, TAMIS_I8, 2, 4, 8), to = tensor(other, TAMIS_F32, 2, 4, 8);
  from.scale = scale;
  OK(tamis_convert(c, &from, &to));
  CHECK(other[0] == -16.0f && other[31] == 60.0f);
  from.scale = NULL;
  OK(tamis_convert(c, &from, &to));
  CHECK(other[31] == 15.0f);
  from.scale = (const float *)(const void *)((const char *)scale + 1);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "from->scale", tamis_convert(c, &from, &to));
  from.scale = scale;
  from.scale_stride[0] = INT64_MAX;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "from->scale_stride[0]", tamis_convert(c, &from, &to));
  from = tensor(bytes, TAMIS_I8, 2, 4, 8);
  from.stride[1] = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "from->stride[1]", tamis_convert(c, &from, &to));

  from = tensor(data, TAMIS_F32, 2, 4, 8);
  to = tensor(bytes, TAMIS_I8, 2, 4, 8);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "to->scale", tamis_convert(c, &from, &to));
  to.scale = scale;
  OK(tamis_convert(c, &from, &to));
  to.scale_stride[0] = 0;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "to->scale_stride[0]", tamis_convert(c, &from, &to));
  to.scale_stride[0] = 1;
  to.scale = data;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "to is", tamis_convert(c, &from, &to)); /* its scales lie in from */
}

void test_tensors(void) {
  tamis_context *c = make_context(1);
  test_fields(c);
  test_overflow(c);
  test_outputs(c);
  test_input_strides(c);
  test_scales(c);
  tamis_context_destroy(c);
}
