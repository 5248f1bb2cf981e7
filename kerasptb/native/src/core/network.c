/* The network, for who has no other. */

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
/* Adds the products of rows of values with the rows of a matrix, of a part of both; `pitch` is between two rows. */
static void add_products(const lm_matrix* matrix, int32_t begin, int32_t size, const lm_value* values, int32_t pitch,
                         int num_rows, float* const* outputs) {
  int32_t i;
  int row;
  for (i = 0; i < matrix->num_outputs; i++) {
    const lm_weight* weights = matrix->weights + (size_t)i * (size_t)padded(matrix->num_inputs) + begin;
    for (row = 0; row < num_rows; row++)
      outputs[row][i] += product(weights, values + (size_t)row * (size_t)pitch + begin, size);
  }
}
#endif

/* Multiplies rows of a search's inputs with a matrix. */
static void multiply(const lm_search* search, const lm_matrix* matrix, int num_rows, float* const* outputs) {
  const int32_t num_outputs = matrix->num_outputs, size = padded(matrix->num_inputs);
  const int32_t pitch = search->model->most_inputs;
  const float *scales = matrix->output_scales, *bias = matrix->bias;
  float scale[LM_ROWS_TOGETHER];
  int32_t begin, i;
  int row;
  for (row = 0; row < num_rows; row++) {
    scale[row] = to_values(matrix, search->inputs + row * pitch, search->values + row * pitch);
    for (i = 0; i < num_outputs; i++) outputs[row][i] = 0.0f;
  }
  for (begin = 0; begin < size; begin += SUMMED)
    add_products(matrix, begin, size - begin < SUMMED ? size - begin : SUMMED, search->values, pitch, num_rows,
                 outputs);
  for (row = 0; row < num_rows; row++) {
    float* of_row = outputs[row];
    for (i = 0; i < num_outputs; i++) of_row[i] = of_row[i] * (scales ? scales[i] * scale[row] : scale[row]) + bias[i];
  }
}

/* Each makes the state of a cell of its sums, which it changes. With e = exp(-x), sigmoid(x) = 1 / (1 + e) and
 * 1 - sigmoid(x) = e / (1 + e); and with e = exp(-2 x), tanh(x) = (1 - e) / (1 + e). */

/* The sums of i, f, c and o; without i, in a CIFG, it is 1 - f. */
static void apply_lstm(float* sums, int32_t num_gates, int32_t units, float* h) {
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
static void subtract_log_sum(float* logits, int32_t size) {
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
static void read_rows(const lm_search* search, const int32_t* tokens, int num_rows, float* const* states,
                      float* const* log_probabilities) {
  const lm_model* model = search->model;
  const int32_t pitch = model->most_inputs, num_gates = model->cell == LM_CIFG ? 3 : 4;
  float *inputs[LM_ROWS_TOGETHER], *sums[LM_ROWS_TOGETHER];
  int32_t i, size = model->embedding_size, at = 0;
  int layer, row;
  for (row = 0; row < num_rows; row++) {
    const lm_weight* weights = model->embeddings + (size_t)tokens[row] * (size_t)padded(size);
    const float scale = model->embedding_scales ? model->embedding_scales[tokens[row]] : 1.0f;
    inputs[row] = search->inputs + row * pitch;
    sums[row] = search->sums + row * model->most_outputs;
    for (i = 0; i < size; i++) inputs[row][i] = scale * (float)weights[i];
  }
  for (layer = 0; layer < model->num_layers; layer++) {
    const lm_matrix* matrix = &model->matrices[layer];
    const int32_t units = matrix->num_outputs / num_gates;
    const size_t bytes = (size_t)units * sizeof(float);
    for (row = 0; row < num_rows; row++) memcpy(inputs[row] + size, states[row] + at, bytes);
    multiply(search, matrix, num_rows, sums);
    for (row = 0; row < num_rows; row++) {
      if (model->cell == LM_GRU) {
        apply_gru(sums[row], units, states[row] + at);
      } else {
        apply_lstm(sums[row], num_gates, units, states[row] + at);
      }
      memcpy(inputs[row], states[row] + at, bytes);
    }
    size = units;
    at += (model->cell == LM_GRU ? 1 : 2) * units;
  }
  if (!log_probabilities) return;
  for (; layer < model->num_matrices - 1; layer++) {
    multiply(search, &model->matrices[layer], num_rows, sums);
    size = model->matrices[layer].num_outputs;
    for (row = 0; row < num_rows; row++) memcpy(inputs[row], sums[row], (size_t)size * sizeof(float));
  }
  multiply(search, &model->matrices[layer], num_rows, log_probabilities);
  for (row = 0; row < num_rows; row++) subtract_log_sum(log_probabilities[row], model->num_tokens);
}

void lm_begin(lm_search* search, const lm_context* context) {
  const lm_model* model = search->model;
  memset(context->state, 0, (size_t)model->state_size * sizeof(float));
  memset(context->log_probabilities, 0, (size_t)model->num_tokens * sizeof(float));
  if (model->eos >= 0) {
    lm_read(search, context, &model->eos, 1);
  } else { /* all alike: the model does not know how a text begins */
    subtract_log_sum(context->log_probabilities, model->num_tokens);
  }
}

void lm_read(lm_search* search, const lm_context* context, const int32_t* tokens, size_t num_tokens) {
  float *const state = context->state, *const log_probabilities = context->log_probabilities;
  size_t i;
  for (i = 0; i < num_tokens; i++)
    read_rows(search, tokens + i, 1, &state, i + 1 < num_tokens ? 0 : &log_probabilities);
}

/* Reads the rows that a search asks for, some together, and gives them. */
static void read_asked(lm_search* search, const lm_context* context, const lm_asked* asked, int32_t number) {
  const lm_model* model = search->model;
  const size_t bytes = (size_t)model->state_size * sizeof(float);
  float *states[LM_ROWS_TOGETHER], *log_probabilities[LM_ROWS_TOGETHER];
  int32_t tokens[LM_ROWS_TOGETHER], first, row, num_rows;
  for (first = 0; first < number; first += num_rows) {
    num_rows = number - first < LM_ROWS_TOGETHER ? number - first : LM_ROWS_TOGETHER;
    for (row = 0; row < num_rows; row++) {
      const lm_asked* each = &asked[first + row];
      tokens[row] = each->token;
      states[row] = search->states + (size_t)each->row * (size_t)model->state_size;
      log_probabilities[row] = search->log_probabilities + (size_t)row * (size_t)model->num_tokens;
      memmove(states[row],
              each->before ? search->states + (size_t)each->before * (size_t)model->state_size : context->state, bytes);
    }
    read_rows(search, tokens, num_rows, states, log_probabilities);
    for (row = 0; row < num_rows; row++) lm_give(search, asked[first + row].row, log_probabilities[row]);
  }
}

static int32_t run(lm_search* search, const lm_context* context, const lm_question* question, lm_word* words) {
  const lm_asked* asked;
  int32_t number;
  lm_find(search, question);
  lm_give(search, 0, context->log_probabilities);
  while ((number = lm_take(search, &asked)) > 0) read_asked(search, context, asked, number);
  return lm_words(search, words, question->num_words);
}

int32_t lm_suggest(lm_search* search, const lm_context* context, const lm_typed* typed, int32_t num_words,
                   lm_word* words) {
  lm_question question;
  if (num_words < 1 || typed->prefix_size >= LM_WORD_BYTES) return 0;
  memset(&question, 0, sizeof question);
  question.typed = typed;
  question.num_words = num_words;
  return run(search, context, &question, words);
}

/* Finds what the hits of a search may stand for: all of a word, or its beginning; with those `beside`, see
 * `lm_question`. */
static int32_t find_meant(lm_search* search, const lm_context* context, const lm_typed* typed, int32_t is_whole,
                          int32_t num_words, const uint32_t* beside, int32_t num_beside, lm_word* words) {
  int32_t tokens[LM_WORD_BYTES + 2];
  lm_question question;
  memset(&question, 0, sizeof question);
  question.typed = typed;
  question.num_words = num_words;
  question.beside = beside;
  question.num_beside = num_beside;
  question.hits = &search->hits;
  question.literal = tokens;
  question.num_literal = encode_literal(search->model, typed, tokens);
  question.least_odds = is_whole ? exp(LM_MARGIN) : LM_LEAST_ODDS;
  search->hits.is_whole = is_whole;
  return run(search, context, &question, words);
}

int32_t lm_suggest_typos(lm_search* search, const lm_context* context, const lm_typed* typed, int32_t layout,
                         const float* points, int32_t num_words, lm_word* words, lm_word* correction) {
  int32_t found;
  correction->text[0] = 0;
  if (num_words < 1 ||
      !lm_find_hits(search->model, typed->letters, layout, points, 1, search->room_of_hits, &search->hits))
    return lm_suggest(search, context, typed, num_words, words);
  found = find_meant(search, context, typed, 1, 1, 0, 0, correction);
  if (!found || correction->probability <= lm_literal(search) * exp(LM_MARGIN) ||
      !strcmp(correction->text, typed->letters))
    correction->text[0] = 0;
  /* With a letter that no piece has, taps are no slips. */
  if (!search->hits.may_be_words && (found = lm_suggest(search, context, typed, num_words, words)) > 0) return found;
  return find_meant(search, context, typed, 0, num_words, 0, 0, words);
}
