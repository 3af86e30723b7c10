// Merges the splits of attend_decode: lse = log sum_s exp(lse_s), o = sum_s exp(lse_s - lse) o_s. One work-group per row.

kernel __attribute__((reqd_work_group_size(64, 1, 1))) void attend_merge(
    global const float *part, global const float2 *part_stats, int splits, int group, int n_queries, global float *out,
    global float *lse) {
  const int lid = get_local_id(0);
  const int index = get_group_id(0), n_rows = group * n_queries;
  const int kv_head = index / n_rows, r = index % n_rows;
  const size_t to = (size_t)(kv_head * group + r % group) * n_queries + r / group;
  const size_t from = (size_t)index * splits;

  float m = -INFINITY, l = 0.0f;
  for (int s = 0; s < splits; s++) m = fmax(m, part_stats[from + s].x);
  const float base = m == -INFINITY ? 0.0f : m;
  for (int s = 0; s < splits; s++) l += part_stats[from + s].y * exp(part_stats[from + s].x - base);
  for (int i = lid; i < D4; i += 64) {
    float4 sum = (float4)(0.0f);
    for (int s = 0; s < splits; s++) sum += vload4((from + s) * D4 + i, part) * exp(part_stats[from + s].x - base);
    vstore4(l == 0.0f ? (float4)(0.0f) : sum / l, to * D4 + i, out);
  }
  if (lid == 0) lse[to] = l == 0.0f ? -INFINITY : base + log(l);
}
