/* Runs every suite against the library it is linked to; argv[1] names one of them, and only so does `opencl` run, which needs a
 * device. `isa` prints the build info instead. */
#include "check.h"

int checks_passed, checks_failed;

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(void);
  } suites[] = {
      {"core", test_core},           {"tensors", test_tensors},     {"attention", test_attention},
      {"kv_cache", test_kv_cache},   {"snapshots", test_snapshots}, {"retrieval", test_retrieval},
      {"sparse_prefill", test_sparse_prefill},
      {"ops", test_ops},             {"weights", test_weights},     {"threads", test_threads},
      {"opencl", test_opencl},     {"sinks", test_sinks},     {"sparse_attention", test_sparse_attention},
      {"encoder", test_encoder},     {"tokenizer", test_tokenizer},
      {"text_scores", test_text_scores}, {"clusters", test_clusters}, {"annotation", test_annotation},
      {"compression", test_compression}, {"dhsa", test_dhsa},
      {"metrics", test_metrics},     {"tasks", test_tasks},         {"signals", test_signals},
      {"logit_metrics", test_logit_metrics},
  };
  if (argc > 1 && strcmp(argv[1], "isa") == 0) {
    static char info[16384];
    if (tamis_build_info(info, sizeof info, NULL) != TAMIS_OK) return 1;
    puts(info);
    return 0;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
    if (argc < 2 ? suites[i].run != test_opencl : strcmp(argv[1], suites[i].name) == 0) suites[i].run();
  printf("c: %d passed, %d failed\n", checks_passed, checks_failed);
  return checks_failed != 0;
}
