/* tamis/annotation.h: word labels, filters, files. */
#include "check.h"
#include <unistd.h>

static int64_t last_bad_line;
static void bad_line(int64_t line, const char *sentence, void *user) {
  last_bad_line = line;
  *(int *)user += sentence[0] != 0;
}
static int32_t refuse(double done, void *user) { return user != NULL && done > 2; }

static void test_pairs(void) {
  static const char text[] = "Well, the plan is, um, good.", kept[] = "plan is good";
  tamis_span words[8];
  int32_t labels[8];
  int64_t count = -1;
  tamis_annotation a = TAMIS_ANNOTATION_INIT;
  OK(tamis_annotate(text, sizeof text - 1, kept, sizeof kept - 1, TAMIS_ALIGN_EXACT, 0, words, labels, 8, &count, &a));
  CHECK(count == 6 && words[0].end == 5 && labels[0] == 0 && labels[2] == 1 && labels[3] == 1 && labels[4] == 0 &&
        labels[5] == 1);
  CHECK(a.words == 6 && a.compressed_words == 3 && a.labelled == 3 && a.variation_rate == 0 && a.matching_rate == 0.5);
  CHECK(a.hitting_rate == 0.5 && a.alignment_gap == 0 && a.alignment == TAMIS_ALIGN_EXACT);
  OK(tamis_annotate(text, sizeof text - 1, "good plan", 9, TAMIS_ALIGN_EXACT, 150, NULL, NULL, 0, &count, &a));
  CHECK(count == 6 && a.alignment == TAMIS_ALIGN_WINDOW && a.labelled == 2);
  FAILS(TAMIS_ERR_BUFFER_TOO_SMALL, "capacity",
        tamis_annotate(text, sizeof text - 1, kept, sizeof kept - 1, TAMIS_ALIGN_EXACT, 0, words, labels, 5, &count, &a));
  CHECK(count == 6);
  OK(tamis_annotate(NULL, 0, NULL, 0, TAMIS_ALIGN_WINDOW, 1, words, labels, 0, &count, &a));
  CHECK(count == 0 && a.variation_rate == 1 && a.hitting_rate == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "window", tamis_annotate(text, 4, kept, 4, 0, -1, NULL, NULL, 0, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "window", tamis_annotate(text, 4, kept, 4, 0, INT32_MAX, NULL, NULL, 0, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "alignment", tamis_annotate(text, 4, kept, 4, 2, 0, NULL, NULL, 0, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "compressed", tamis_annotate(text, 4, NULL, 4, 0, 0, NULL, NULL, 0, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "compressed_length",
        tamis_annotate(text, 4, kept, SIZE_MAX, 0, 0, NULL, NULL, 0, &count, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "count", tamis_annotate(text, 4, kept, 4, 0, 0, NULL, NULL, 0, NULL, NULL));
  a.struct_size = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "annotation", tamis_annotate(text, 4, kept, 4, 0, 0, NULL, NULL, 0, &count, &a));
}

static void test_filters(void) {
  const double vr[4] = {0, 0, 0.5, 0}, ag[4] = {0, 0, 0, 0};
  int32_t indices[4];
  int64_t count = -1;
  OK(tamis_filter_annotations(vr, ag, 4, TAMIS_FILTER_PAPER, -1, -1, indices, &count));
  CHECK(count == 3 && indices[2] == 3);
  OK(tamis_filter_annotations(vr, ag, 4, TAMIS_FILTER_NONE, -1, -1, indices, &count));
  CHECK(count == 4);
  OK(tamis_filter_annotations(ag, ag, 4, TAMIS_FILTER_OFFICIAL, -1, -1, indices, &count));
  CHECK(count == 0);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "filter", tamis_filter_annotations(vr, ag, 4, 3, -1, -1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "drop_gap", tamis_filter_annotations(vr, ag, 4, 1, -1, 1.5, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "drop_variation", tamis_filter_annotations(vr, ag, 4, 1, (double)NAN, 0, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "alignment_gaps", tamis_filter_annotations(vr, NULL, 4, 1, -1, -1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "n is", tamis_filter_annotations(vr, ag, -4, 1, -1, -1, indices, &count));
}

static void test_files(void) {
  char folder[] = "/tmp/tamis-c-XXXXXX", in[64], out[64], line[512];
  int bad = 0;
  tamis_annotate_options o = TAMIS_ANNOTATE_OPTIONS_INIT;
  tamis_annotate_report report = TAMIS_ANNOTATE_REPORT_INIT;
  CHECK(mkdtemp(folder) != NULL);
  snprintf(in, sizeof in, "%s/in.jsonl", folder);
  snprintf(out, sizeof out, "%s/out.jsonl", folder);
  FILE *file = fopen(in, "w");
  fputs("{\"id\": 7, \"text\": \"a b c\", \"compressed\": \"A c\"}\n{\"text\": 1}\n", file);
  fclose(file);
  o.bad_line = bad_line;
  o.bad_line_user = &bad;
  OK(tamis_annotate_file(in, out, &o, &report));
  CHECK(bad == 1 && last_bad_line == 2 && report.pairs == 1 && report.bad_lines == 1 && report.kept == 1 &&
        report.labelled == 2);
  file = fopen(out, "r");
  CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
  CHECK(strstr(line, "\"id\": 7") != NULL && strstr(line, "\"labels\": [1, 0, 1]") != NULL);
  CHECK(strstr(line, "\"words\": [[0, 1], [2, 3], [4, 5]]") != NULL);
  if (file) fclose(file);
  unlink(out);
  o.strict = 1;
  FAILS(TAMIS_ERR_FORMAT, "line 2", tamis_annotate_file(in, out, &o, &report));
  CHECK(access(out, F_OK) != 0);
  o.strict = 2;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->strict", tamis_annotate_file(in, out, &o, &report));
  o.strict = 0;
  o.window = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->window", tamis_annotate_file(in, out, &o, &report));
  o.window = 0;
  FAILS(TAMIS_ERR_NOT_FOUND, "none", tamis_annotate_file("/none", out, &o, &report));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "path", tamis_annotate_file(NULL, out, &o, &report));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "out_path", tamis_annotate_file(in, NULL, &o, &report));
  file = fopen(in, "w");
  for (int i = 0; i < 100; i++) fputs("{\"text\": \"a b c\", \"compressed\": \"A c\"}\n", file);
  fclose(file);
  o.progress = refuse;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_annotate_file(in, out, &o, &report));
  CHECK(access(out, F_OK) != 0);
  unlink(in);
  CHECK(rmdir(folder) == 0);
}

void test_annotation(void) {
  test_pairs();
  test_filters();
  test_files();
}
