#include <math.h>
#include <string.h>

/* The network. */

/* Raises e to numbers, with an error of 1e-7 of each: 2^n times a polynomial of what remains. Compilers make vectors of
 * the loops. */
static void raise_e(float* x, int32_t size) {
  int32_t i;
  for (i = 0; i < size; i++) {
    x[i] = x[i] < -87.0f ? -87.0f : x[i];
    x[i] = x[i] > 88.0f ? 88.0f : x[i];
  }
  for (i = 0; i < size; i++) {
    int32_t bits = (int32_t)(x[i] * 1.44269504f + 127.5f);
    const float n = (float)(bits - 127), r = (x[i] - n * 0.693359375f) + n * 2.12194440e-4f;
    float power;
    bits *= 1 << 23;
    memcpy(&power, &bits, sizeof power);
    x[i] =
        power * (1.0f + r +
                 r * r * (0.50000001f + r * (0.16666516f + r * (0.04166626f + r * (0.00836916f + r * 0.00139465f)))));
  }
}

/* Rows of weights are padded with zeros to a multiple of so many, for the processor's vectors. Sums begin anew after so
 * many: products of 8 and 16 bits have room in 32 bits up to there, and float sums stay exact to 1e-6. */
enum { LANES = 32, SUMMED = 512 };

static int32_t padded(int32_t size) { return (size + LANES - 1) / LANES * LANES; }

#if LM_FLOAT
/* Writes inputs as the weights take them; returns what the products are to be multiplied with. */
static float to_values(const lm_matrix* matrix, const float* inputs, lm_value* values) {
  int32_t i;
  for (i = 0; i < matrix->num_inputs; i++) values[i] = inputs[i];
  for (; i < padded(matrix->num_inputs); i++) values[i] = 0;
  return 1.0f;
}

static float product(const lm_weight* weights, const lm_value* values, int32_t size) {
  float lanes[LANES] = {0}, sum = 0.0f;
  int32_t i, lane;
  for (i = 0; i < size; i += LANES)
    for (lane = 0; lane < LANES; lane++) lanes[lane] += weights[i + lane] * values[i + lane];
  for (lane = 0; lane < LANES; lane++) sum += lanes[lane];
  return sum;
}
#else
/* Writes inputs in 16 bits, by the largest; returns what the products are to be multiplied with. */
static float to_values(const lm_matrix* matrix, const float* inputs, lm_value* values) {
  const float* scales = matrix->input_scales;
  float largest = 1e-30f, scaled;
  int32_t i;
  for (i = 0; i < matrix->num_inputs; i++) {
    scaled = fabsf(scales ? inputs[i] * scales[i] : inputs[i]);
    largest = scaled > largest ? scaled : largest;
  }
  for (i = 0; i < matrix->num_inputs; i++) {
    scaled = (scales ? inputs[i] * scales[i] : inputs[i]) * (32767.0f / largest) + 32768.5f;
    values[i] = (lm_value)((int32_t)scaled - 32768);
  }
  for (; i < padded(matrix->num_inputs); i++) values[i] = 0;
  return largest / 32767.0f;
}

#ifndef LM_ADD_PRODUCTS /* else what includes this has them */
static float product(const lm_weight* weights, const lm_value* values, int32_t size) {
  const int32_t whole = size & -LANES; /* the same, which compilers see to be a multiple */
  int32_t sum = 0, i;
  for (i = 0; i < whole; i++) sum += (lm_value)weights[i] * values[i];
  return (float)sum;
}
#endif
#endif

#ifndef LM_ADD_PRODUCTS
/* Adds the products of rows of values with the rows of a matrix, of a part of both. */
static void add_products(const lm_matrix* matrix, int32_t begin, int32_t size, lm_value (*values)[LM_MOST_INPUTS],
                         int num_rows, float* const* outputs) {
  int32_t i;
  int row;
  for (i = 0; i < matrix->num_outputs; i++) {
    const lm_weight* weights = matrix->weights + (size_t)i * (size_t)padded(matrix->num_inputs) + begin;
    for (row = 0; row < num_rows; row++) outputs[row][i] += product(weights, values[row] + begin, size);
  }
}
#endif

/* Multiplies rows with a matrix. */
static void multiply(const lm_matrix* matrix, const float (*inputs)[LM_MOST_INPUTS], int num_rows,
                     float* const* outputs) {
  lm_value values[LM_ROWS][LM_MOST_INPUTS];
  const int32_t num_outputs = matrix->num_outputs, pitch = padded(matrix->num_inputs);
  const float *scales = matrix->output_scales, *bias = matrix->bias;
  float scale[LM_ROWS];
  int32_t begin, i;
  int row;
  for (row = 0; row < num_rows; row++) {
    scale[row] = to_values(matrix, inputs[row], values[row]);
    for (i = 0; i < num_outputs; i++) outputs[row][i] = 0.0f;
  }
  for (begin = 0; begin < pitch; begin += SUMMED)
    add_products(matrix, begin, pitch - begin < SUMMED ? pitch - begin : SUMMED, values, num_rows, outputs);
  for (row = 0; row < num_rows; row++) {
    float* of_row = outputs[row];
    for (i = 0; i < num_outputs; i++) of_row[i] = of_row[i] * (scales ? scales[i] * scale[row] : scale[row]) + bias[i];
  }
}

/* Each makes the state of a cell of its sums, which it changes. With e = exp(-x), sigmoid(x) = 1 / (1 + e) and
 * 1 - sigmoid(x) = e / (1 + e); and with e = exp(-2 x), tanh(x) = (1 - e) / (1 + e). */

/* The sums of i, f, c and o; without i, in a CIFG, it is 1 - f. */
static void apply_lstm(float* sums, int32_t units, float* h) {
  const int32_t num_gates = tables.cell == LM_CIFG ? 3 : 4;
  float *f = sums + (num_gates - 3) * units, *g = f + units, *o = g + units, *c = h + units;
  int32_t k;
  for (k = 0; k < num_gates * units; k++) sums[k] *= -1.0f;
  for (k = 0; k < units; k++) g[k] *= 2.0f;
  raise_e(sums, num_gates * units);
  for (k = 0; k < units; k++) {
    const float i = num_gates == 3 ? f[k] / (1.0f + f[k]) : 1.0f / (1.0f + sums[k]);
    c[k] = c[k] / (1.0f + f[k]) + i * (1.0f - g[k]) / (1.0f + g[k]);
    g[k] = -2.0f * c[k];
  }
  raise_e(g, units);
  for (k = 0; k < units; k++) h[k] = (1.0f - g[k]) / ((1.0f + g[k]) * (1.0f + o[k]));
}

/* The sums of z, r, and of the candidate those of the inputs and of h. */
static void apply_gru(float* sums, int32_t units, float* h) {
  float *z = sums, *r = z + units, *g = r + units, *of_h = g + units;
  int32_t k;
  for (k = 0; k < 2 * units; k++) z[k] *= -1.0f;
  raise_e(z, 2 * units);
  for (k = 0; k < units; k++) g[k] = -2.0f * (g[k] + of_h[k] / (1.0f + r[k]));
  raise_e(g, units);
  for (k = 0; k < units; k++) h[k] = (h[k] + z[k] * (1.0f - g[k]) / (1.0f + g[k])) / (1.0f + z[k]);
}

/* Makes log probabilities of logits. */
static void subtract_log_sum(float* logits) {
  const int32_t size = tables.num_tokens;
  float powers[SUMMED], largest = logits[0];
  double sum = 0.0;
  int32_t begin, i, lane;
  for (i = 1; i < size; i++) largest = logits[i] > largest ? logits[i] : largest;
  for (begin = 0; begin < size; begin += SUMMED) {
    float lanes[LANES] = {0};
    for (i = 0; i < SUMMED; i++) powers[i] = begin + i < size ? logits[begin + i] - largest : -88.0f;
    raise_e(powers, SUMMED);
    for (i = 0; i < SUMMED; i += LANES)
      for (lane = 0; lane < LANES; lane++) lanes[lane] += powers[i + lane];
    for (lane = 0; lane < LANES; lane++) sum += (double)lanes[lane];
  }
  largest += (float)log(sum);
  for (i = 0; i < size; i++) logits[i] -= largest;
}

/* Reads a token in each of some rows: changes the states, and computes the log probabilities after it unless 0. */
static void read_rows(const int32_t* tokens, int num_rows, float* const* states, float* const* log_probabilities) {
  float inputs[LM_ROWS][LM_MOST_INPUTS], sums[LM_ROWS][LM_MOST_OUTPUTS];
  float* outputs[LM_ROWS] = {0};
  int32_t i, size = tables.embedding_size, at = 0;
  int layer, row;
  for (row = 0; row < num_rows; row++) {
    const lm_weight* weights = tables.embeddings + (size_t)tokens[row] * (size_t)padded(size);
    const float scale = tables.embedding_scales ? tables.embedding_scales[tokens[row]] : 1.0f;
    for (i = 0; i < size; i++) inputs[row][i] = scale * (float)weights[i];
    outputs[row] = sums[row];
  }
  for (layer = 0; layer < tables.num_layers; layer++) {
    const lm_matrix* matrix = &tables.matrices[layer];
    const int32_t units = matrix->num_outputs / (tables.cell == LM_CIFG ? 3 : 4);
    const size_t bytes = (size_t)units * sizeof(float);
    for (row = 0; row < num_rows; row++) memcpy(inputs[row] + size, states[row] + at, bytes);
    multiply(matrix, (const float (*)[LM_MOST_INPUTS])inputs, num_rows, outputs);
    for (row = 0; row < num_rows; row++) {
      (tables.cell == LM_GRU ? apply_gru : apply_lstm)(sums[row], units, states[row] + at);
      memcpy(inputs[row], states[row] + at, bytes);
    }
    size = units;
    at += (tables.cell == LM_GRU ? 1 : 2) * units;
  }
  if (!log_probabilities) return;
  for (; layer < tables.num_matrices - 1; layer++) {
    multiply(&tables.matrices[layer], (const float (*)[LM_MOST_INPUTS])inputs, num_rows, outputs);
    size = tables.matrices[layer].num_outputs;
    for (row = 0; row < num_rows; row++) memcpy(inputs[row], sums[row], (size_t)size * sizeof(float));
  }
  multiply(&tables.matrices[layer], (const float (*)[LM_MOST_INPUTS])inputs, num_rows, log_probabilities);
  for (row = 0; row < num_rows; row++) subtract_log_sum(log_probabilities[row]);
}

void lm_begin(lm_context* context) {
  memset(context, 0, sizeof *context);
  if (tables.eos >= 0) {
    lm_read(context, &tables.eos, 1);
  } else {
    subtract_log_sum(context->log_probabilities); /* all alike: the model does not know how a text begins */
  }
}

void lm_read(lm_context* context, const int32_t* tokens, size_t num_tokens) {
  float *state = context->state, *log_probabilities = context->log_probabilities;
  size_t i;
  for (i = 0; i < num_tokens; i++) read_rows(tokens + i, 1, &state, i + 1 < num_tokens ? 0 : &log_probabilities);
}
