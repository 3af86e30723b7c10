/* tamis/clusters.h: few documents for many: k-means over embeddings, and representatives of each cluster (CRAG,
 * arXiv 2406.00029).
 *
 * Score: distance of a document to the centre of its cluster. Spend: a budget shared by the clusters in proportion to their
 * size. Use: the documents nearest to the centres, or medoid-first lists for a summariser.
 */
#ifndef TAMIS_CLUSTERS_H
#define TAMIS_CLUSTERS_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tamis_cluster_options {
  uint32_t struct_size;
  int32_t k;               /* 4: clusters; 0: the k of 2 .. min(8, floor(sqrt(n))) with the largest mean silhouette */
  int32_t restarts;        /* 10: runs from other k-means++ seeds; the one with the least inertia is given; 1 to 1000 */
  int32_t max_iterations;  /* 300: Lloyd iterations of a run; 1 to 100000 */
  double tolerance;        /* 1e-4: a run ends when inertia falls by less than this share of itself */
  uint64_t seed;           /* 0 */
  int32_t normalise;       /* 1: rows are divided by their length first, which makes distance a matter of angle */
  int32_t reserved;        /* 0 */
  tamis_progress_fn progress; /* NULL; called between runs */
  void *progress_user;
} tamis_cluster_options;

#define TAMIS_CLUSTER_OPTIONS_INIT {sizeof(tamis_cluster_options), 4, 10, 300, 1e-4, 0, 1, 0, NULL, NULL}
void tamis_cluster_options_init(tamis_cluster_options *options);

typedef struct tamis_cluster_report {
  uint32_t struct_size;
  int32_t k;          /* clusters found: fewer than asked where there are fewer different rows */
  int32_t iterations; /* of the run that is given */
  int32_t converged;  /* 0: it ended at max_iterations */
  double inertia;     /* sum over rows of the squared distance to their centre */
  double silhouette;  /* mean over rows, for k = 0; NaN otherwise */
} tamis_cluster_report;

#define TAMIS_CLUSTER_REPORT_INIT {sizeof(tamis_cluster_report), 0, 0, 0, 0.0, 0.0}

/* k-means of the rows of points [n, d] (f32, f16 or bf16): greedy k-means++ seeds, Lloyd iterations, sums in f64. Ties go to the
 * lower cluster; an empty cluster takes the row farthest from its centre. Clusters are numbered by their first row: row 0 is in
 * cluster 0. n <= k: every row is a cluster. Same inputs, same seed: same bits, whatever the number of threads.
 *   labels   [n]      cluster of each row
 *   order    [n]      rows by cluster, within a cluster nearest to the centre first (the medoid leads); may be NULL
 *   offsets  [k + 1]  cluster c is order[offsets[c]] to order[offsets[c + 1]]; room for max(k, 8) + 1; may be NULL
 *   centres  [k, d]   f32, room for max(k, 8) rows where k is 0 in the options; may be NULL
 *   report            may be NULL
 * The silhouettes of k = 0 are taken over all rows up to 2048 of them, above over 2048 evenly spaced rows.
 * Errors: INVALID_ARGUMENT (a row that is not finite, named), CANCELLED. Thread: any; calls on one context wait for each
 * other. */
TAMIS_MUST_CHECK tamis_status tamis_cluster(tamis_context *context, const tamis_cluster_options *options,
                                            const tamis_tensor *points, int32_t *labels, int32_t *order, int32_t *offsets,
                                            const tamis_tensor *centres, tamis_cluster_report *report);

/* Rows that stand for their clusters within a budget: cluster c of n_c of the n rows may spend budget * n_c / n on its rows in
 * `order`, and gives at least its first whatever that costs. costs [n] by row (tokens of each text, 0 to 2^31 - 1); NULL: 1
 * each. indices [n] receives the rows, ascending; `count` how many. order and offsets are as tamis_cluster writes them.
 * Errors: INVALID_ARGUMENT. Thread: any. */
TAMIS_MUST_CHECK tamis_status tamis_representatives(const int32_t *order, const int32_t *offsets, int32_t k,
                                                    const int32_t *costs, int64_t budget, int32_t *indices, int64_t *count);

#ifdef __cplusplus
}
#endif

#endif /* TAMIS_CLUSTERS_H */
