// Statistics of rows of logits: one work-group a row, its items walk it side by side, states merge in a tree.
// -D LTYPE: element type of the rows. -D OTYPE: of a second model's.

#define LANES 256
#define LELEM JOIN(ELEM_, LTYPE)
#define OELEM JOIN(ELEM_, OTYPE)

static inline float at_0(global const float *p, size_t i) { return p[i]; }
static inline float at_1(global const half *p, size_t i) { return vload_half(i, p); }
static inline float at_2(global const ushort *p, size_t i) { return as_float((uint)p[i] << 16); }
#define at_l JOIN(at_, LTYPE)
#define at_o JOIN(at_, OTYPE)

// What exp is asked of lies above this; entries that are -inf stand here.
#define LOWEST (-80.0f)

// What `a` and `b`, two items' values, make of all items' x, for every item; room [LANES].
#define ALL(name, type, joined)                                         \
  static inline type name(type x, local type *room) {                   \
    const int lid = get_local_id(0);                                    \
    room[lid] = x;                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                       \
    for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {       \
      if (lid < half_way) {                                             \
        const type a = room[lid], b = room[lid + half_way];             \
        room[lid] = joined;                                             \
      }                                                                 \
      barrier(CLK_LOCAL_MEM_FENCE);                                     \
    }                                                                   \
    const type all = room[0];                                           \
    barrier(CLK_LOCAL_MEM_FENCE);                                       \
    return all;                                                         \
  }
ALL(sum_all, float, a + b)
ALL(count_all, int, a + b)
ALL(max_all, float, fmax(a, b))

// The order of floats as unsigned integers; -inf is the least that occurs.
static inline uint key_of(float x) {
  const uint u = as_uint(x + 0.0f);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

#ifdef LTYPE
// Of each row: floats (max, sum e, sum d e, sum d^2 e, sum e^2, next largest, total, mass), d = (z - max) scale, e = exp d; ints
// (bad, top, larger, equal, count). targets: -1 skips the row. `wanted`: 1 order, 2 mass.
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_rows(
    global const LELEM *z, int width, global const int *targets, int has_targets, float scale, int wanted, int top_k,
    global float *floats, global int *ints) {
  local float room[LANES], seconds[LANES];
  local int places[LANES];
  local uint bins[256];
  local uint chosen[3];
  const int lid = get_local_id(0), row = get_group_id(0);
  const size_t base = (size_t)row * width;
  const int target = has_targets ? targets[row] : 0;
  if (has_targets && target < 0) return;
  const float y = at_l(z, base + target);
  float m = -INFINITY, second = -INFINITY, total = 0.0f;
  int place = -1, larger = 0, equal = 0, count = 0, bad = 0;
  for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i);
    bad |= isnan(x) || x == INFINITY;
    if (x > m) {
      second = m;
      m = x;
      place = i;
    } else if (x > second) {
      second = x;
    }
    larger += x > y;
    equal += x == y;
    if (x > -INFINITY) {
      total += x;
      count++;
    }
  }
  room[lid] = m;
  seconds[lid] = second;
  places[lid] = place;
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int half_way = LANES / 2; half_way > 0; half_way /= 2) {
    if (lid < half_way) {
      const float a = room[lid], b = room[lid + half_way];
      const int p = places[lid], q = places[lid + half_way];
      // Of equal ones the lower place, which need not be the lower lane's.
      const int other = b > a || (b == a && q >= 0 && (p < 0 || q < p));
      seconds[lid] = fmax(fmin(a, b), fmax(seconds[lid], seconds[lid + half_way]));
      room[lid] = other ? b : a;
      places[lid] = other ? q : p;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  m = room[0];
  second = seconds[0];
  place = places[0];
  barrier(CLK_LOCAL_MEM_FENCE);
  bad = count_all(bad, places);
  larger = count_all(larger, places);
  equal = count_all(equal, places);
  count = count_all(count, places);
  total = sum_all(total, room);
  float sum = 0.0f, first = 0.0f, squared = 0.0f, squares = 0.0f, mass = 0.0f;
  if (bad == 0 && count > 0) {
    for (int i = lid; i < width; i += LANES) {
      const float d = fmax((at_l(z, base + i) - m) * scale, LOWEST), e = exp(d);
      sum += e;
      first += d * e;
      squared += d * d * e;
      squares += e * e;
    }
    sum = sum_all(sum, room);
    first = sum_all(first, room);
    squared = sum_all(squared, room);
    squares = sum_all(squares, room);
    if (wanted & 2) {
      // Byte by byte the key of the k-th largest; then what lies above it, and as many of it as are left.
      uint prefix = 0, mask = 0;
      int left = min(top_k, width);
      for (int shift = 24; shift >= 0; shift -= 8) {
        bins[lid] = 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lid; i < width; i += LANES) {
          const uint k = key_of(at_l(z, base + i));
          if ((k & mask) == prefix) atomic_inc(&bins[(k >> shift) & 255u]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lid == 0) {
          int bin = 255;
          while (bins[bin] < (uint)left) {
            left -= bins[bin];
            bin--;
          }
          chosen[0] = bin;
          chosen[1] = left;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        prefix |= chosen[0] << shift;
        mask |= 255u << shift;
        left = chosen[1];
        barrier(CLK_LOCAL_MEM_FENCE);
      }
      for (int i = lid; i < width; i += LANES) {
        const float x = at_l(z, base + i);
        if (key_of(x) > prefix) mass += exp((x - m) * scale);
      }
      mass = sum_all(mass, room);
      const uint bits = prefix & 0x80000000u ? prefix ^ 0x80000000u : ~prefix;
      mass += left * exp((as_float(bits) - m) * scale);
    }
  }
  if (lid == 0) {
    global float *f = floats + (size_t)row * 8;
    global int *n = ints + (size_t)row * 5;
    f[0] = m, f[1] = sum, f[2] = first, f[3] = squared, f[4] = squares, f[5] = second, f[6] = total, f[7] = mass;
    n[0] = bad, n[1] = place, n[2] = larger, n[3] = equal, n[4] = count;
  }
}
#endif

#if defined(LTYPE) && defined(OTYPE)
// Values a (z - max z) + b (w - max w): floats (max z, max w, max of the values, sum of exp(value - that max)), ints (bad, count).
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_combined(
    global const LELEM *z, global const OELEM *w, int width, global const int *targets, int has_targets, float a, float b,
    global float *floats, global int *ints) {
  local float room[LANES];
  local int counts[LANES];
  const int lid = get_local_id(0), row = get_group_id(0);
  const size_t base = (size_t)row * width;
  if (has_targets && targets[row] < 0) return;
  float mz = -INFINITY, mw = -INFINITY;
  int bad = 0, count = 0;
  for (int i = lid; i < width; i += LANES) {
    const float x = at_l(z, base + i), y = at_o(w, base + i);
    bad |= isnan(x) || x == INFINITY || (x > -INFINITY && !isfinite(y));
    count += x > -INFINITY;
    mz = fmax(mz, x);
    mw = fmax(mw, y);
  }
  bad = count_all(bad, counts);
  count = count_all(count, counts);
  mz = max_all(mz, room);
  mw = max_all(mw, room);
  if (!isfinite(mw)) mw = 0.0f;
  float m = -INFINITY, sum = 0.0f;
  if (bad == 0 && count > 0) {
    for (int i = lid; i < width; i += LANES) {
      const float x = at_l(z, base + i);
      if (x > -INFINITY) m = fmax(m, a * (x - mz) + b * (at_o(w, base + i) - mw));
    }
    m = max_all(m, room);
    for (int i = lid; i < width; i += LANES) {
      const float x = at_l(z, base + i);
      if (x > -INFINITY) sum += exp(a * (x - mz) + b * (at_o(w, base + i) - mw) - m);
    }
    sum = sum_all(sum, room);
  }
  if (lid == 0) {
    floats[(size_t)row * 4] = mz, floats[(size_t)row * 4 + 1] = mw, floats[(size_t)row * 4 + 2] = m;
    floats[(size_t)row * 4 + 3] = sum;
    ints[(size_t)row * 2] = bad, ints[(size_t)row * 2 + 1] = count;
  }
}

// Rows p and q: floats (max p, max q, sum e_p, sum e_q, sum e_p g, - sum e_q g, JS, |P - Q|), g as in tamis_logits.h; ints (bad,
// entries of p, entries of q).
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void logit_pairs(
    global const LELEM *p, global const OELEM *q, int width, float scale, int distance, global float *floats,
    global int *ints) {
  local float room[LANES];
  local int counts[LANES];
  const int lid = get_local_id(0), row = get_group_id(0);
  const size_t base = (size_t)row * width;
  float mp = -INFINITY, mq = -INFINITY;
  int bad = 0, count_p = 0, count_q = 0;
  for (int i = lid; i < width; i += LANES) {
    const float x = at_l(p, base + i), y = at_o(q, base + i);
    bad |= isnan(x) || x == INFINITY || isnan(y) || y == INFINITY;
    count_p += x > -INFINITY;
    count_q += y > -INFINITY;
    mp = fmax(mp, x);
    mq = fmax(mq, y);
  }
  bad = count_all(bad, counts);
  count_p = count_all(count_p, counts);
  count_q = count_all(count_q, counts);
  mp = max_all(mp, room);
  mq = max_all(mq, room);
  float sum_p = 0.0f, sum_q = 0.0f, forward = 0.0f, backward = 0.0f, js = 0.0f, variation = 0.0f;
  if (bad == 0 && count_p > 0 && count_q > 0) {
    for (int i = lid; i < width; i += LANES) {
      const float x = at_l(p, base + i), y = at_o(q, base + i);
      const float dp = (x - mp) * scale, dq = (y - mq) * scale;
      const float ep = exp(fmax(dp, LOWEST)), eq = exp(fmax(dq, LOWEST));
      sum_p += ep;
      sum_q += eq;
      if (x > -INFINITY) forward += ep * (dp - dq);
      if (y > -INFINITY) backward += eq * (dq - dp);
    }
    sum_p = sum_all(sum_p, room);
    sum_q = sum_all(sum_q, room);
    forward = sum_all(forward, room);
    backward = sum_all(backward, room);
    if (distance) {
      const float lp = log(sum_p), lq = log(sum_q);
      for (int i = lid; i < width; i += LANES) {
        const float a = fmax((at_l(p, base + i) - mp) * scale - lp, LOWEST);
        const float b = fmax((at_o(q, base + i) - mq) * scale - lq, LOWEST);
        const float pa = exp(a), pb = exp(b), x = b - a;
        const float h = -log1p(expm1(-fabs(x)) * 0.5f);
        // ln 2 - ln(1 + e^-|x|) = -ln(1 - (1 - e^-|x|) / 2), up to sign 0 at x = 0.
        js += pa * (h - fmax(0.0f, x)) + pb * (h - fmax(0.0f, -x));
        variation += fabs(pa - pb);
      }
      js = sum_all(js, room);
      variation = sum_all(variation, room);
    }
  }
  if (lid == 0) {
    global float *f = floats + (size_t)row * 8;
    f[0] = mp, f[1] = mq, f[2] = sum_p, f[3] = sum_q, f[4] = forward, f[5] = backward, f[6] = js, f[7] = variation;
    ints[(size_t)row * 3] = bad, ints[(size_t)row * 3 + 1] = count_p, ints[(size_t)row * 3 + 2] = count_q;
  }
}
#endif
