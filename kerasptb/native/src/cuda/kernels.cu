// Every kernel, as one translation unit. The recurrence needs thread-block clusters, so the code is for compute
// capability 9.0 and later:
//
//   nvcc -fatbin -O3 -std=c++17
//        -gencode arch=compute_90,code=sm_90   -gencode arch=compute_90,code=compute_90
//        -gencode arch=compute_100,code=sm_100
//        -gencode arch=compute_120,code=sm_120 -gencode arch=compute_120,code=compute_120
//        kernels.cu -o kernels.fatbin
//
// as nvcc.py does. sm_90: H100, H200. sm_100: B200. sm_120: GeForce RTX 50. The PTX of compute_90 and compute_120 lets
// the driver compile for others. Not with --use_fast_math: its tanhf has 11 bits.
#include "cuda/column_sums.cu"
#include "cuda/lstm_backward.cu"
#include "cuda/lstm_backward_bfloat16.cu"
#include "cuda/lstm_forward.cu"
#include "cuda/lstm_forward_bfloat16.cu"
#include "cuda/softmax_cross_entropy.cu"
