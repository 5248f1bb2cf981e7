/* What the nodes of a frozen model compute. The C file of a model has it as it is; the library compiles it for each of
 * its levels, with products of its own. Arrays are dense; B rows stand first in each. */

#ifndef FZ_LANES
#define FZ_LANES 16 /* columns of a panel of weights */
#endif
#ifndef FZ_WEIGHT
#define FZ_WEIGHT float
#endif

/* Raises e to numbers, with an error of 1e-7 of each: 2^n times a polynomial of what remains. Compilers make vectors of
 * the loop. NaN stays. */
static void fz_exp(float* x, int64_t size) {
  int64_t i;
  for (i = 0; i < size; i++) {
    const float low = x[i] < -87.0f ? -87.0f : x[i], y = low > 88.0f ? 88.0f : low;
    const int32_t bits = (int32_t)((y == y ? y : 0.0f) * 1.44269504f + 127.5f);
    const float n = (float)(bits - 127), r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
    const int32_t shifted = bits * (1 << 23);
    float power;
    memcpy(&power, &shifted, sizeof power);
    power *=
        1.0f + r + r * r * (0.50000001f + r * (0.16666516f + r * (0.04166626f + r * (0.00836916f + r * 0.00139465f))));
    x[i] = x[i] > 88.722f ? INFINITY : x[i] < -87.0f ? 0.0f : power;
  }
}

static float fz_tanh_of(float e) { return (1.0f - e) / (1.0f + e); } /* of e = exp(-2 x) */

static void fz_sigmoid(float* x, int64_t size) {
  int64_t i;
  for (i = 0; i < size; i++) x[i] = -x[i];
  fz_exp(x, size);
  for (i = 0; i < size; i++) x[i] = 1.0f / (1.0f + x[i]);
}

static void fz_tanh(float* x, int64_t size) {
  int64_t i;
  for (i = 0; i < size; i++) {
    const float y = -2.0f * x[i];
    x[i] = y > 60.0f ? 60.0f : y; /* past which it is 1 */
  }
  fz_exp(x, size);
  for (i = 0; i < size; i++) x[i] = fz_tanh_of(x[i]);
}

static void fz_softmax(float* x, int64_t size, int logarithm) {
  float largest = x[0], sum = 0.0f;
  int64_t i;
  for (i = 1; i < size; i++) largest = x[i] > largest || x[i] != x[i] ? x[i] : largest;
  for (i = 0; i < size; i++) x[i] -= largest;
  if (logarithm) {
    for (i = 0; i < size; i++) sum += expf(x[i]);
    sum = logf(sum);
    for (i = 0; i < size; i++) x[i] -= sum;
    return;
  }
  fz_exp(x, size);
  for (i = 0; i < size; i++) sum += x[i];
  for (i = 0; i < size; i++) x[i] /= sum;
}

static float fz_softplus(float x) { return (x > 0.0f ? x : 0.0f) + log1pf(expf(x > 0.0f ? -x : x)); }
static float fz_hard_sigmoid(float x) {
  const float y = x * (1.0f / 6.0f) + 0.5f;
  return y < 0.0f ? 0.0f : y > 1.0f ? 1.0f : y;
}
static float fz_elu(float x, float alpha) { return x > 0.0f ? x : alpha * expm1f(x); }

static float fz_rare(int32_t kind, float parameter, float x) {
  switch (kind) {
    case FZ_HARD_SIGMOID: return fz_hard_sigmoid(x);
    case FZ_LEAKY_RELU: return x > 0.0f ? x : parameter * x;
    case FZ_RELU6: return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x;
    case FZ_ELU: return fz_elu(x, parameter);
    case FZ_SELU: return 1.05070099f * fz_elu(x, 1.67326324f);
    case FZ_SOFTPLUS: return fz_softplus(x);
    case FZ_SOFTSIGN: return x / (1.0f + fabsf(x));
    case FZ_EXPONENTIAL: return expf(x);
    case FZ_GELU:
      if (parameter != 0.0f) return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
      return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case FZ_MISH: return x * tanhf(fz_softplus(x));
    case FZ_HARD_SILU: return x * fz_hard_sigmoid(x);
    case FZ_SILU: return x / (1.0f + expf(-x));
    default: return x;
  }
}

/* An activation of rows of `width` numbers. */
static void fz_activate(int32_t kind, float parameter, float* x, int64_t rows, int64_t width) {
  const int64_t size = rows * width;
  int64_t i;
  switch (kind) {
    case FZ_LINEAR: return;
    case FZ_RELU:
      for (i = 0; i < size; i++) x[i] = x[i] < 0.0f ? 0.0f : x[i];
      return;
    case FZ_TANH: fz_tanh(x, size); return;
    case FZ_SIGMOID: fz_sigmoid(x, size); return;
    case FZ_SOFTMAX:
    case FZ_LOG_SOFTMAX:
      for (i = 0; i < rows; i++) fz_softmax(x + i * width, width, kind == FZ_LOG_SOFTMAX);
      return;
    default:
      for (i = 0; i < size; i++) x[i] = fz_rare(kind, parameter, x[i]);
  }
}

#ifndef FZ_PRODUCT
#define FZ_PRODUCT fz_product
/* y = x M + bias, or y += x M; rows are `x_stride` and `y_stride` apart. Panels are [panel][inputs][FZ_LANES]. */
static void fz_product(const fz_matrix* m, const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride,
                       int accumulate) {
  int64_t row;
  int32_t begin, k, j;
  for (row = 0; row < rows; row++, x += x_stride, y += y_stride)
    for (begin = 0; begin < m->outputs; begin += FZ_LANES) {
      const FZ_WEIGHT* w = (const FZ_WEIGHT*)m->weights + (int64_t)begin * m->inputs;
      const int32_t left = m->outputs - begin, width = left < FZ_LANES ? left : FZ_LANES;
      float sums[FZ_LANES] = {0};
      for (k = 0; k < m->inputs; k++) {
        const float value = x[k];
        for (j = 0; j < FZ_LANES; j++) sums[j] += value * (float)w[k * FZ_LANES + j];
      }
      for (j = 0; j < width; j++) {
        const float sum = m->scales ? sums[j] * m->scales[begin + j] : sums[j];
        y[begin + j] = sum + (accumulate ? y[begin + j] : m->bias ? m->bias[begin + j] : 0.0f);
      }
    }
}
#endif

/* sizes: T, D, H, flags, gates, stride of the states that are given, of those that are returned.
 * inputs: x [B, T, D], a mask [B, T] or none, h and c [B, H] or none. outputs: [B, T, H] or [B, H]; h, c. */

/* The state h, c of a row after a step, from the sums z of x W + h U + bias; of a GRU with those of h U + bias in q. */
static void fz_gates(const fz_node* n, float* z, float* q, const float* h, const float* c, float* new_h, float* new_c) {
  const int32_t H = n->sizes[2];
  float *g = z + (n->kind == FZ_CIFG ? H : 2 * H), *f = n->kind == FZ_CIFG ? z : z + H, *o = g + H;
  int32_t k;
  if (n->kind == FZ_SIMPLE_RNN) {
    fz_activate(n->activation, n->parameter, z, 1, H);
    memcpy(new_h, z, (size_t)H * sizeof(float));
    return;
  }
  if (n->kind == FZ_GRU || n->kind == FZ_GRU_RESET_BEFORE) {
    if (n->kind == FZ_GRU) {
      for (k = 0; k < 2 * H; k++) z[k] += q[k];
      fz_activate(n->recurrent_activation, 0.0f, z, 1, 2 * H);
      for (k = 0; k < H; k++) g[k] += z[H + k] * q[2 * H + k];
    } else {
      for (k = 0; k < H; k++) g[k] += q[k];
    }
    fz_activate(n->activation, n->parameter, g, 1, H);
    for (k = 0; k < H; k++) new_h[k] = z[k] * h[k] + (1.0f - z[k]) * g[k];
    return;
  }
  fz_activate(n->recurrent_activation, 0.0f, z, 1, (int64_t)(g - z));
  fz_activate(n->recurrent_activation, 0.0f, o, 1, H);
  fz_activate(n->activation, n->parameter, g, 1, H);
  for (k = 0; k < H; k++) {
    const float rest = 1.0f - f[k];
    const float i = n->kind == FZ_CIFG || (n->kind == FZ_CAPPED_LSTM && rest < z[k]) ? rest : z[k];
    new_c[k] = f[k] * c[k] + i * g[k];
    g[k] = new_c[k];
  }
  fz_activate(n->activation, n->parameter, g, 1, H);
  for (k = 0; k < H; k++) new_h[k] = o[k] * g[k];
}

/* Copies a state that is given, or begins one with zeros. */
static void fz_begin_state(const fz_node* n, float* const* t, int which, float* to, int64_t rows, int64_t row_size) {
  const int32_t from = n->inputs[2 + which];
  int64_t b;
  memset(to, 0, (size_t)(rows * row_size) * sizeof(float));
  for (b = 0; from >= 0 && b < rows; b++)
    memcpy(to + b * row_size, t[from] + b * n->sizes[5], (size_t)n->sizes[2] * sizeof(float));
}

static int fz_has_c(const fz_node* n) { return n->kind == FZ_LSTM || n->kind == FZ_CIFG || n->kind == FZ_CAPPED_LSTM; }

/* Gives the state after the last step where it is wanted. */
static void fz_end_states(const fz_node* n, float* const* t, const float* h, const float* c, int64_t rows,
                          int64_t row_size) {
  const size_t bytes = (size_t)n->sizes[2] * sizeof(float);
  int64_t b;
  for (b = 0; b < rows; b++) {
    if (n->outputs[1] >= 0) memcpy(t[n->outputs[1]] + b * n->sizes[6], h + b * row_size, bytes);
    if (n->outputs[2] >= 0) memcpy(t[n->outputs[2]] + b * n->sizes[6], c + b * row_size, bytes);
  }
}

/* Puts out a row's h after a step; of a step that is masked its state goes on, and its output is the one before: of the
 * first one zeros, but for a step of a signal that goes on, whose output before was the state. */
static void fz_put(const fz_node* n, int is_masked, int64_t step, const float* h, float* y) {
  const int64_t H = n->sizes[2];
  float* to = n->sizes[3] & FZ_SEQUENCES ? y + step * H : y;
  const int is_zero = n->sizes[3] & FZ_ZERO_OUTPUT || (step == 0 && !(n->sizes[3] & FZ_STEP));
  if (!is_masked || (step == 0 && !is_zero)) {
    memcpy(to, h, (size_t)H * sizeof(float));
  } else if (is_zero) {
    memset(to, 0, (size_t)H * sizeof(float));
  } else if (n->sizes[3] & FZ_SEQUENCES) {
    memcpy(to, to - H, (size_t)H * sizeof(float));
  }
}

/* Of each row `scratch` has gates + gates + 4 units numbers. */
static void fz_recurrent(const fz_node* n, float* const* t, float* scratch, int64_t rows) {
  const int64_t T = n->sizes[0], D = n->sizes[1], H = n->sizes[2], gates = n->sizes[4];
  const int64_t y_row = n->sizes[3] & FZ_SEQUENCES ? T * H : H;
  const float *x = t[n->inputs[0]], *mask = n->inputs[1] < 0 ? 0 : t[n->inputs[1]];
  const int has_c = fz_has_c(n), is_before = n->kind == FZ_GRU_RESET_BEFORE;
  float *z = scratch, *q = z + rows * gates, *h = q + rows * gates, *c = h + rows * H;
  float *next_h = c + rows * H, *next_c = next_h + rows * H, *y = t[n->outputs[0]], *other;
  int64_t step, b, k;
  fz_begin_state(n, t, 0, h, rows, H);
  fz_begin_state(n, t, 1, c, rows, H);
  for (step = 0; step < T; step++) {
    const int64_t at = n->sizes[3] & FZ_BACKWARDS ? T - 1 - step : step;
    FZ_PRODUCT(&n->matrices[0], x + at * D, T * D, rows, z, gates, 0);
    if (n->kind == FZ_GRU) {
      FZ_PRODUCT(&n->matrices[1], h, H, rows, q, gates, 0);
    } else {
      FZ_PRODUCT(&n->matrices[1], h, H, rows, z, gates, 1);
    }
    if (is_before) { /* the product of the candidate is of r h */
      for (b = 0; b < rows; b++) {
        fz_activate(n->recurrent_activation, 0.0f, z + b * gates, 1, 2 * H);
        for (k = 0; k < H; k++) next_h[b * H + k] = z[b * gates + H + k] * h[b * H + k];
      }
      FZ_PRODUCT(&n->matrices[2], next_h, H, rows, q, gates, 0);
    }
    for (b = 0; b < rows; b++) {
      const int is_masked = mask && mask[b * T + at] == 0.0f;
      float *new_h = next_h + b * H, *new_c = next_c + b * H;
      fz_gates(n, z + b * gates, q + b * gates, h + b * H, c + b * H, new_h, new_c);
      if (is_masked) {
        memcpy(new_h, h + b * H, (size_t)H * sizeof(float));
        if (has_c) memcpy(new_c, c + b * H, (size_t)H * sizeof(float));
      }
      fz_put(n, is_masked, step, new_h, y + b * y_row);
    }
    other = h, h = next_h, next_h = other;
    other = c, c = next_c, next_c = other;
  }
  fz_end_states(n, t, h, c, rows, H);
}

/* sizes: vectors, inputs, outputs. */
static void fz_dense(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int64_t vectors = rows * n->sizes[0], width = n->sizes[2];
  FZ_PRODUCT(&n->matrices[0], x, n->sizes[1], vectors, y, width, 0);
  fz_activate(n->activation, n->parameter, y, vectors, width);
}

/* What a window sees, with zeros where it has no step. */
static void fz_window(const int32_t* s, const float* x, int64_t place, float* to) {
  const int64_t T = s[0], D = s[1];
  int64_t i;
  for (i = 0; i < s[4]; i++) {
    const int64_t step = place * s[5] - s[7] + i * s[6];
    if (step < 0 || step >= T) {
      memset(to + i * D, 0, (size_t)D * sizeof(float));
    } else {
      memcpy(to + i * D, x + step * D, (size_t)D * sizeof(float));
    }
  }
}

/* A window that slides over the steps: sizes T, D, places, outputs, size, stride, dilation, padding before. Windows
 * without padding are rows of x as they lie. */
static void fz_conv1d(const fz_node* n, const float* x, float* y, float* scratch, int64_t rows) {
  const int32_t* s = n->sizes;
  const int64_t T = s[0], D = s[1], places = s[2], width = s[3], dense = s[6] == 1;
  const int64_t first = dense ? (s[7] + s[5] - 1) / s[5] : places, room = T + s[7] - s[4];
  const int64_t past = dense && room >= 0 ? room / s[5] + 1 : first, last = past < places ? past : places;
  int64_t b, place;
  for (b = 0; b < rows; b++, x += T * D, y += places * width) {
    for (place = 0; place < places; place++) {
      if (place == first && last > first) {
        FZ_PRODUCT(&n->matrices[0], x + (first * s[5] - s[7]) * D, s[5] * D, last - first, y + first * width, width, 0);
        place = last - 1;
        continue;
      }
      fz_window(s, x, place, scratch);
      FZ_PRODUCT(&n->matrices[0], scratch, D * s[4], 1, y + place * width, width, 0);
    }
  }
  fz_activate(n->activation, n->parameter, y - rows * places * width, rows * places, width);
}

/* kind: 0 for the largest, 1 for the average; the same sizes. */
static void fz_pool1d(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int32_t* s = n->sizes;
  const int64_t T = s[0], D = s[1];
  int64_t b, place, i, k;
  for (b = 0; b < rows; b++)
    for (place = 0; place < s[2]; place++, y += D) {
      int64_t number = 0;
      for (i = 0; i < s[4]; i++) {
        const int64_t step = place * s[5] - s[7] + i;
        const float* from = x + (b * T + step) * D;
        if (step < 0 || step >= T) continue;
        for (k = 0; k < D; k++) {
          const float before = number == 0 ? (n->kind ? 0.0f : -INFINITY) : y[k];
          y[k] = n->kind ? before + from[k] : from[k] > before || from[k] != from[k] ? from[k] : before;
        }
        number++;
      }
      for (k = 0; n->kind && k < D; k++) y[k] /= (float)number;
    }
}

/* sizes: T, D. */
static void fz_global_pool1d(const fz_node* n, const float* x, const float* mask, float* y, int64_t rows) {
  const int64_t T = n->sizes[0], D = n->sizes[1];
  int64_t b, step, k;
  for (b = 0; b < rows; b++, y += D) {
    float number = 0.0f;
    for (k = 0; k < D; k++) y[k] = n->kind ? 0.0f : -INFINITY;
    for (step = 0; step < T; step++) {
      const float* from = x + (b * T + step) * D;
      if (mask && mask[b * T + step] == 0.0f) continue;
      number += 1.0f;
      for (k = 0; k < D; k++) y[k] = n->kind ? y[k] + from[k] : from[k] > y[k] || from[k] != from[k] ? from[k] : y[k];
    }
    for (k = 0; n->kind && k < D; k++) y[k] /= number;
  }
}

/* sizes: numbers of axes (3 at most, others are of size 1), their sizes in y, and what is between two in x. */
static void fz_permute(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int32_t* s = n->sizes;
  const int64_t size = (int64_t)s[0] * s[1] * s[2];
  int64_t b, i, j, k;
  for (b = 0; b < rows; b++)
    for (i = 0; i < s[0]; i++)
      for (j = 0; j < s[1]; j++)
        for (k = 0; k < s[2]; k++) *y++ = x[b * size + i * s[3] + j * s[4] + k * s[5]];
}

/* sizes: outer parts, then of each input the numbers of a part. */
static void fz_concatenate(const fz_node* n, float* const* t, int64_t rows) {
  int64_t outer, i, width = 0, at = 0;
  for (i = 0; i < FZ_INPUTS && n->inputs[i] >= 0; i++) width += n->sizes[1 + i];
  for (i = 0; i < FZ_INPUTS && n->inputs[i] >= 0; i++) {
    const int64_t size = n->sizes[1 + i];
    for (outer = 0; outer < rows * n->sizes[0]; outer++)
      memcpy(t[n->outputs[0]] + outer * width + at, t[n->inputs[i]] + outer * size, (size_t)size * sizeof(float));
    at += size;
  }
}

static float fz_merged(int32_t kind, float a, float b) {
  switch (kind) {
    case FZ_SUBTRACT: return a - b;
    case FZ_MULTIPLY: return a * b;
    case FZ_MAXIMUM: return a > b || a != a ? a : b;
    case FZ_MINIMUM: return a < b || a != a ? a : b;
    default: return a + b;
  }
}

/* Two inputs: sizes: numbers of y, numbers of each input, and how often each of them stands in a run. */
static void fz_merge(const fz_node* n, float* const* t, int64_t rows) {
  const int32_t* s = n->sizes;
  const float *a = t[n->inputs[0]], *other = t[n->inputs[1]];
  float* y = t[n->outputs[0]];
  int64_t b, i;
  if (s[0] == s[1] && s[0] == s[2]) {
    const int64_t size = rows * s[0];
    if (n->kind == FZ_ADD) {
      for (i = 0; i < size; i++) y[i] = a[i] + other[i];
    } else {
      for (i = 0; i < size; i++) y[i] = fz_merged(n->kind, a[i], other[i]);
    }
  } else {
    for (b = 0; b < rows; b++)
      for (i = 0; i < s[0]; i++)
        y[b * s[0] + i] = fz_merged(n->kind, a[b * s[1] + i / s[3] % s[1]], other[b * s[2] + i / s[4] % s[2]]);
  }
  if (n->kind == FZ_AVERAGE)
    for (i = 0; i < rows * s[0]; i++) y[i] *= n->parameter;
}

/* sizes: numbers of x, numbers of the axis, and of what is behind it. */
static void fz_affine(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int32_t* s = n->sizes;
  int64_t i;
  for (i = 0; i < rows * s[0]; i++) y[i] = x[i] * n->values[0][i / s[2] % s[1]] + n->values[1][i / s[2] % s[1]];
}

/* sizes: groups, numbers of each; the parameter is epsilon. */
static void fz_layer_norm(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int64_t width = n->sizes[1];
  int64_t group, k;
  for (group = 0; group < rows * n->sizes[0]; group++, x += width, y += width) {
    float mean = 0.0f, variance = 0.0f;
    for (k = 0; k < width; k++) mean += x[k];
    mean /= (float)width;
    for (k = 0; k < width; k++) variance += (x[k] - mean) * (x[k] - mean);
    variance = 1.0f / sqrtf(variance / (float)width + n->parameter);
    for (k = 0; k < width; k++) y[k] = (x[k] - mean) * variance * n->values[0][k] + n->values[1][k];
  }
}

/* Of ids, sizes: ids, rows of the table, numbers of each. Returns whether all have rows; others are read as 0. */
static int fz_embedding(const fz_node* n, const float* ids, float* y, int64_t rows) {
  const int64_t width = n->sizes[2];
  int is_right = 1;
  int64_t i, k;
  for (i = 0; i < rows * n->sizes[0]; i++, y += width) {
    const int is_there = ids[i] > -1.0f && ids[i] < (float)n->sizes[1];
    const int64_t at = is_there ? (int64_t)ids[i] : 0;
    const fz_matrix* m = &n->matrices[0];
    is_right &= is_there;
    if (m->scales) {
      for (k = 0; k < width; k++) y[k] = (float)((const signed char*)m->weights)[at * width + k] * m->scales[at];
    } else {
      memcpy(y, (const float*)m->weights + at * width, (size_t)width * sizeof(float));
    }
  }
  return is_right;
}

/* sizes: numbers of the mask, numbers of x for each; the parameter is what is masked. */
static void fz_mask_of(const fz_node* n, const float* x, float* y, int64_t rows) {
  int64_t i, k;
  for (i = 0; i < rows * n->sizes[0]; i++) {
    y[i] = 0.0f;
    for (k = 0; k < n->sizes[1]; k++)
      if (x[i * n->sizes[1] + k] != n->parameter) y[i] = 1.0f;
  }
}

static void fz_keep(const fz_node* n, const float* x, const float* mask, const float* other, float* y, int64_t rows) {
  const int64_t width = n->sizes[1];
  int64_t i, k;
  for (i = 0; i < rows * n->sizes[0]; i++)
    for (k = i * width; k < (i + 1) * width; k++) y[k] = mask[i] > 0.0f ? x[k] : other ? other[k] : n->parameter;
}

/* sizes: T, numbers of a step, the step. */
static void fz_steps(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int64_t T = n->sizes[0], width = n->sizes[1];
  const size_t bytes = (size_t)width * sizeof(float);
  int64_t b, step;
  for (b = 0; b < rows; b++) {
    if (n->op == FZ_TAKE_STEP) {
      memcpy(y + b * width, x + (b * T + n->sizes[2]) * width, bytes);
      continue;
    }
    for (step = 0; step < T; step++)
      memcpy(y + (b * T + step) * width, x + (n->op == FZ_REPEAT ? b : b * T + T - 1 - step) * width, bytes);
  }
}

/* A copy, and an activation of it. sizes: vectors, numbers of each, numbers between two rows of y. */
static void fz_copy(const fz_node* n, const float* x, float* y, int64_t rows) {
  const int64_t size = (int64_t)n->sizes[0] * n->sizes[1];
  int64_t b;
  for (b = 0; b < rows; b++, x += size, y += n->sizes[2]) {
    memcpy(y, x, (size_t)size * sizeof(float));
    fz_activate(n->activation, n->parameter, y, n->sizes[0], n->sizes[1]);
  }
}

#ifndef FZ_RECURRENT_NODE
#define FZ_RECURRENT_NODE fz_recurrent
#endif

/* Runs nodes over tensors of some rows; returns whether all ids had rows in their tables. */
static int fz_run(const fz_node* nodes, int32_t num_nodes, float* const* t, float* scratch, int64_t rows) {
  int is_right = 1;
  const fz_node* n;
  for (n = nodes; n < nodes + num_nodes; n++) {
    const float *x = t[n->inputs[0]], *second = n->inputs[1] < 0 ? 0 : t[n->inputs[1]];
    const float* third = n->inputs[2] < 0 ? 0 : t[n->inputs[2]];
    float* y = t[n->outputs[0]];
    switch (n->op) {
      case FZ_EMBEDDING: is_right &= fz_embedding(n, x, y, rows); break;
      case FZ_MASK_OF: fz_mask_of(n, x, y, rows); break;
      case FZ_KEEP: fz_keep(n, x, second, third, y, rows); break;
      case FZ_RECURRENT: FZ_RECURRENT_NODE(n, t, scratch, rows * n->sizes[7]); break;
      case FZ_DENSE: fz_dense(n, x, y, rows); break;
      case FZ_CONV1D: fz_conv1d(n, x, y, scratch, rows * n->sizes[8]); break;
      case FZ_POOL1D: fz_pool1d(n, x, y, rows * n->sizes[8]); break;
      case FZ_GLOBAL_POOL1D: fz_global_pool1d(n, x, second, y, rows * n->sizes[2]); break;
      case FZ_PERMUTE: fz_permute(n, x, y, rows * n->sizes[6]); break;
      case FZ_CONCATENATE: fz_concatenate(n, t, rows); break;
      case FZ_MERGE: fz_merge(n, t, rows); break;
      case FZ_AFFINE: fz_affine(n, x, y, rows); break;
      case FZ_LAYER_NORM: fz_layer_norm(n, x, y, rows); break;
      case FZ_REPEAT:
      case FZ_REVERSE:
      case FZ_TAKE_STEP: fz_steps(n, x, y, rows * n->sizes[3]); break;
      default: fz_copy(n, x, y, rows);
    }
  }
  return is_right;
}
