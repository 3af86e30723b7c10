/* tamis/core.h: statuses, last error, version, build info, context, the struct_size rule. */
#include "check.h"

static void test_statuses(void) {
  static const struct {
    tamis_status status;
    int value;
    const char *name;
  } pinned[] = {
      {TAMIS_OK, 0, "TAMIS_OK"},
      {TAMIS_ERR_INVALID_ARGUMENT, -1, "TAMIS_ERR_INVALID_ARGUMENT"},
      {TAMIS_ERR_UNSUPPORTED, -2, "TAMIS_ERR_UNSUPPORTED"},
      {TAMIS_ERR_OUT_OF_MEMORY, -3, "TAMIS_ERR_OUT_OF_MEMORY"},
      {TAMIS_ERR_BUFFER_TOO_SMALL, -4, "TAMIS_ERR_BUFFER_TOO_SMALL"},
      {TAMIS_ERR_CACHE_FULL, -10, "TAMIS_ERR_CACHE_FULL"},
      {TAMIS_ERR_NOT_FOUND, -11, "TAMIS_ERR_NOT_FOUND"},
      {TAMIS_ERR_IO, -20, "TAMIS_ERR_IO"},
      {TAMIS_ERR_FORMAT, -21, "TAMIS_ERR_FORMAT"},
      {TAMIS_ERR_NO_DEVICE, -30, "TAMIS_ERR_NO_DEVICE"},
      {TAMIS_ERR_DEVICE, -31, "TAMIS_ERR_DEVICE"},
      {TAMIS_ERR_CANCELLED, -40, "TAMIS_ERR_CANCELLED"},
      {TAMIS_ERR_INTERNAL, -99, "TAMIS_ERR_INTERNAL"},
  };
  for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++) {
    CHECK(pinned[i].status == pinned[i].value);
    CHECK(strcmp(tamis_status_name(pinned[i].status), pinned[i].name) == 0);
  }
  CHECK(strcmp(tamis_status_name(1), "unknown status") == 0);
  CHECK(strcmp(tamis_status_name(INT32_MIN), "unknown status") == 0);
}

static void test_version(void) {
  CHECK(strcmp(tamis_version(), "0.1.0") == 0);
  CHECK(tamis_version_number() == TAMIS_VERSION_NUMBER);
  CHECK(TAMIS_VERSION_NUMBER == 1000);
}

static void test_dtypes(void) {
  CHECK(tamis_dtype_size(TAMIS_F32) == 4);
  CHECK(tamis_dtype_size(TAMIS_F16) == 2);
  CHECK(tamis_dtype_size(TAMIS_BF16) == 2);
  CHECK(tamis_dtype_size(TAMIS_I8) == 1);
  CHECK(tamis_dtype_size(TAMIS_I32) == 4);
  CHECK(tamis_dtype_size(5) == 0);
  CHECK(tamis_dtype_size(-1) == 0);
}

/* The buffer rule, on the two functions that every build has. */
static void test_strings(tamis_context *context) {
  char buffer[8192];
  size_t needed = 0;
  OK(tamis_build_info(buffer, sizeof buffer, &needed));
  CHECK(needed == strlen(buffer));
  CHECK(buffer[0] == '{' && buffer[needed - 1] == '}');
  CHECK(strstr(buffer, "\"version\": \"0.1.0\"") != NULL);
  CHECK(strstr(buffer, "\"active\"") != NULL && strstr(buffer, "\"opencl\"") != NULL && strstr(buffer, "\"zstd\"") != NULL);
  OK(tamis_build_info(buffer, needed + 1, NULL));
  memset(buffer, 'x', sizeof buffer);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_build_info(buffer, needed, NULL));
  CHECK(buffer[needed - 1] == 0 && buffer[needed] == 'x');
  size_t again = 0;
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_build_info(NULL, 0, &again));
  CHECK(again == needed);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "buffer", tamis_build_info(NULL, 16, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "capacity", tamis_build_info(buffer, SIZE_MAX, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "needed", tamis_build_info(buffer, 16, (size_t *)(buffer + 1)));

  OK(tamis_context_device_name(context, buffer, sizeof buffer, &needed));
  CHECK(strncmp(buffer, "CPU ", 4) == 0);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity", tamis_context_device_name(context, buffer, 3, &needed));
  CHECK(strcmp(buffer, "CP") == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_context_device_name(NULL, buffer, sizeof buffer, &needed));
}

static void test_last_error(void) {
  tamis_context *context = make_context(1);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_context_create(NULL, NULL));
  char sentence[1024];
  snprintf(sentence, sizeof sentence, "%s", tamis_last_error());
  CHECK(tamis_context_threads(context) == 1);
  CHECK(strcmp(tamis_last_error(), sentence) == 0); /* success clears nothing */
  tamis_context_destroy(context);
}

static void test_context(void) {
  tamis_context_options options;
  memset(&options, 0xee, sizeof options);
  tamis_context_options_init(&options);
  const tamis_context_options expected = TAMIS_CONTEXT_OPTIONS_INIT;
  CHECK(options.struct_size == expected.struct_size && options.device == expected.device);
  CHECK(options.n_threads == 1 && options.opencl_index == 0 && options.log_level == TAMIS_LOG_WARNING);
  CHECK(options.log == NULL && options.log_user == NULL);
  tamis_context_options_init(NULL);

  tamis_context *context = NULL;
  OK(tamis_context_create(&options, &context));
  CHECK(tamis_context_threads(context) == 1);
  tamis_context_destroy(context);
  OK(tamis_context_create(NULL, &context));
  tamis_context_destroy(context);
  tamis_context_destroy(NULL);
  CHECK(tamis_context_threads(NULL) == 0);

  options.n_threads = 0;
  OK(tamis_context_create(&options, &context));
  CHECK(tamis_context_threads(context) >= 1);
  tamis_context_destroy(context);
  options.n_threads = 3;
  OK(tamis_context_create(&options, &context));
  CHECK(tamis_context_threads(context) == 3);
  tamis_context_destroy(context);

  tamis_context *const untouched = (tamis_context *)&options;
  context = untouched;
  const int32_t wrong_threads[] = {-1, 1025, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < 4; i++) {
    options.n_threads = wrong_threads[i];
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n_threads", tamis_context_create(&options, &context));
  }
  tamis_context_options_init(&options);
  options.device = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "device", tamis_context_create(&options, &context));
  tamis_context_options_init(&options);
  options.log_level = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "log_level", tamis_context_create(&options, &context));
  tamis_context_options_init(&options);
  options.opencl_index = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "opencl_index", tamis_context_create(&options, &context));
  tamis_context_options_init(&options);
  options.device = TAMIS_DEVICE_OPENCL;
  options.opencl_index = INT32_MAX;
  tamis_status status = tamis_context_create(&options, &context);
  CHECK(status == TAMIS_ERR_NO_DEVICE || status == TAMIS_ERR_INVALID_ARGUMENT);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_context_create(NULL, NULL));
  CHECK(context == untouched); /* a failed call changes nothing */
}

/* Older, newer and absurd struct sizes. */
static void test_struct_size(void) {
  union {
    tamis_context_options options;
    unsigned char bytes[256];
  } newer;
  tamis_context *context = NULL;
  memset(&newer, 0, sizeof newer);
  tamis_context_options_init(&newer.options);
  newer.options.struct_size = 256;
  OK(tamis_context_create(&newer.options, &context));
  tamis_context_destroy(context);
  newer.bytes[255] = 1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_context_create(&newer.options, &context));
  newer.bytes[255] = 0;
  const uint32_t wrong[] = {0, 4, sizeof(tamis_context_options) - 1, 4097, UINT32_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    newer.options.struct_size = wrong[i];
    FAILS(TAMIS_ERR_INVALID_ARGUMENT, "struct_size", tamis_context_create(&newer.options, &context));
  }
  _Alignas(16) unsigned char shifted[64];
  memcpy(shifted + 4, &(tamis_context_options)TAMIS_CONTEXT_OPTIONS_INIT, sizeof(tamis_context_options));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options",
        tamis_context_create((const tamis_context_options *)(const void *)(shifted + 4), &context));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out", tamis_context_create(NULL, (tamis_context **)(void *)(shifted + 4)));
}

/* A pointer to something else than a live handle is told apart where it can be. */
static void test_foreign_handles(tamis_context *context) {
  tamis_kv_cache *cache = NULL;
  uint64_t zeros[4] = {0, 0, 0, 0};
  char buffer[64];
  OK(tamis_kv_create(context, NULL, &cache));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context",
        tamis_context_device_name((tamis_context *)(void *)cache, buffer, sizeof buffer, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context",
        tamis_context_device_name((tamis_context *)(void *)zeros, buffer, sizeof buffer, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context",
        tamis_context_device_name((tamis_context *)(void *)((char *)zeros + 1), buffer, sizeof buffer, NULL));
  CHECK(tamis_context_threads((tamis_context *)(void *)cache) == 0);
  tamis_context_destroy((tamis_context *)(void *)zeros);
  tamis_kv_destroy(cache);
}

void test_core(void) {
  test_statuses();
  test_version();
  test_dtypes();
  test_context();
  test_struct_size();
  test_last_error();
  tamis_context *context = make_context(1);
  test_strings(context);
  test_foreign_handles(context);
  tamis_context_destroy(context);
}
