/* A frozen model as a program: nodes over tensors, of rows that are independent. Its functions are in ops.c, as
 * kerasptb/frozen/reference.py specifies them; kerasptb/frozen/program.py makes the nodes. */
#ifndef FZ_OPS_H
#define FZ_OPS_H

#include <stdint.h>

/* In the order of OPS and of ACTIVATIONS in reference.py. */
enum {
  FZ_COPY,
  FZ_FOLD,
  FZ_UNFOLD,
  FZ_EMBEDDING,
  FZ_MASK_OF,
  FZ_KEEP,
  FZ_RECURRENT,
  FZ_DENSE,
  FZ_ACTIVATION,
  FZ_CONV1D,
  FZ_POOL1D,
  FZ_GLOBAL_POOL1D,
  FZ_PERMUTE,
  FZ_REPEAT,
  FZ_CONCATENATE,
  FZ_MERGE,
  FZ_AFFINE,
  FZ_LAYER_NORM,
  FZ_REVERSE,
  FZ_TAKE_STEP
};
enum {
  FZ_LINEAR,
  FZ_RELU,
  FZ_TANH,
  FZ_SIGMOID,
  FZ_SOFTMAX,
  FZ_HARD_SIGMOID,
  FZ_LEAKY_RELU,
  FZ_RELU6,
  FZ_ELU,
  FZ_SELU,
  FZ_SOFTPLUS,
  FZ_SOFTSIGN,
  FZ_EXPONENTIAL,
  FZ_SILU,
  FZ_GELU,
  FZ_MISH,
  FZ_HARD_SILU,
  FZ_LOG_SOFTMAX
};
enum { FZ_LSTM, FZ_GRU, FZ_CIFG, FZ_CAPPED_LSTM, FZ_GRU_RESET_BEFORE, FZ_SIMPLE_RNN };
enum { FZ_BACKWARDS = 1, FZ_SEQUENCES = 2, FZ_ZERO_OUTPUT = 4, FZ_INTERLEAVED = 8, FZ_STEP = 16 }; /* if recurrent */
enum { FZ_ADD, FZ_AVERAGE, FZ_SUBTRACT, FZ_MULTIPLY, FZ_MAXIMUM, FZ_MINIMUM };                     /* of a merge */
enum { FZ_INPUTS = 8, FZ_OUTPUTS = 3, FZ_SIZES = 12 };

/* A kernel [inputs, outputs] in panels of columns (program.py), in float, or in 8 bits with a scale for each column. */
typedef struct {
  const void* weights;
  const float* scales; /* 0: float */
  const float* bias;   /* 0: none */
  int32_t inputs, outputs;
  int32_t is_bfloat16; /* in the library, pairs of inputs beside each other */
} fz_matrix;

/* `sizes` are those of one row; ops.c says which, at each function. */
typedef struct {
  int32_t op, activation, recurrent_activation, kind;
  float parameter;
  int32_t inputs[FZ_INPUTS], outputs[FZ_OUTPUTS]; /* numbers of tensors; -1: none */
  int32_t sizes[FZ_SIZES];
  fz_matrix matrices[3];
  const float* values[2];
} fz_node;

#endif
