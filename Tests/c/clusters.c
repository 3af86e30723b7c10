/* tamis/clusters.h: k-means and representatives. */
#include "check.h"

static int32_t stop(double done, void *user) { return done < 0 || ++*(int *)user < 2; }

void test_clusters(void) {
  enum { N = 30, D = 3 };
  static float points[N * D], centres[8 * D];
  int32_t labels[N], order[N], offsets[9], indices[N];
  int64_t count = -1;
  int calls = 0;
  tamis_context *c = make_context(2);
  tamis_cluster_options o = TAMIS_CLUSTER_OPTIONS_INIT;
  tamis_cluster_report report = TAMIS_CLUSTER_REPORT_INIT;
  fill_random(points, N * D, 4);
  for (int i = 0; i < N; i++) points[i * D + i % 3] += 50;
  tamis_tensor p = tensor(points, TAMIS_F32, 2, N, D), t = tensor(centres, TAMIS_F32, 2, 8, D);

  o.k = 3;
  OK(tamis_cluster(c, &o, &p, labels, order, offsets, &t, &report));
  CHECK(report.k == 3 && report.converged == 1 && report.inertia > 0 && isnan(report.silhouette));
  CHECK(offsets[0] == 0 && offsets[1] == 10 && offsets[2] == 20 && offsets[3] == 30);
  for (int i = 0; i < N; i++) CHECK(labels[i] == i % 3);
  for (int i = 0; i < N; i++) CHECK(labels[order[i]] == i / 10);
  OK(tamis_representatives(order, offsets, 3, NULL, 6, indices, &count));
  CHECK(count == 6 && indices[0] < indices[1] && indices[4] < indices[5]);
  OK(tamis_representatives(order, offsets, 3, NULL, 0, indices, &count));
  CHECK(count == 3);
  o.k = 0;
  OK(tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, &report));
  CHECK(report.k == 3 && report.silhouette > 0.8);
  o.k = 1000;
  t.shape[0] = 8;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "centres", tamis_cluster(c, &o, &p, labels, order, NULL, &t, NULL));
  OK(tamis_cluster(c, &o, &p, labels, order, NULL, NULL, &report));
  CHECK(report.k == N && report.inertia == 0);

  o.k = 2;
  o.progress = stop;
  o.progress_user = &calls;
  FAILS(TAMIS_ERR_CANCELLED, "progress", tamis_cluster(c, &o, &p, labels, order, offsets, NULL, &report));
  CHECK(calls == 2);
  o.progress = NULL;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "context", tamis_cluster(NULL, &o, &p, labels, NULL, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "points", tamis_cluster(c, &o, NULL, labels, NULL, NULL, NULL, NULL));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "labels", tamis_cluster(c, &o, &p, NULL, NULL, NULL, NULL, NULL));
  report.struct_size = 4;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "report", tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, &report));
  o.k = -1;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "options->k", tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, NULL));
  o.k = 2;
  o.restarts = 1001;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "restarts", tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, NULL));
  o.restarts = 1;
  o.tolerance = (double)NAN;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "tolerance", tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, NULL));
  o.tolerance = 0;
  points[7] = INFINITY;
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "points[2][1]", tamis_cluster(c, &o, &p, labels, NULL, NULL, NULL, NULL));

  const int32_t good[3] = {1, 0, 2}, twice[3] = {1, 1, 2}, starts[3] = {0, 2, 3}, bad[3] = {0, 0, 3}, cost[3] = {5, 5, -1};
  OK(tamis_representatives(good, starts, 2, NULL, INT64_MAX, indices, &count));
  CHECK(count == 3 && indices[2] == 2);
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "order[1]", tamis_representatives(twice, starts, 2, NULL, 1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets[1]", tamis_representatives(good, bad, 2, NULL, 1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "offsets[0]", tamis_representatives(good, good, 2, NULL, 1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "costs[2]", tamis_representatives(good, starts, 2, cost, 1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "budget", tamis_representatives(good, starts, 2, NULL, -1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "k is", tamis_representatives(good, starts, -2, NULL, 1, indices, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "indices", tamis_representatives(good, starts, 2, NULL, 1, NULL, &count));
  FAILS(TAMIS_ERR_INVALID_ARGUMENT, "count", tamis_representatives(good, starts, 2, NULL, 1, indices, NULL));
  tamis_context_destroy(c);
}
