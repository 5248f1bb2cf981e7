/* Numbers. */

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
