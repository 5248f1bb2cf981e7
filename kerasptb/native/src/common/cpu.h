// The level of vector instructions that the kernels use: what the processor has and the environment allows.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define KERASPTB_X86 1
#else
#define KERASPTB_X86 0
#endif

// Whether there are kernels for AVX512-BF16 and AMX: on x86-64, unless the compiler knows neither.
#if KERASPTB_X86 && !defined(KERASPTB_WITHOUT_BFLOAT16)
#define KERASPTB_BFLOAT16 1
#else
#define KERASPTB_BFLOAT16 0
#endif

namespace kerasptb {

// Each level includes those before it. Every kernel is compiled once for each of its levels, into the namespace of that
// name.
enum class CpuLevel {
  kBaseline = 0,    // x86-64 (SSE2), aarch64 (NEON): 4 lanes of float32
  kAvx2 = 1,        // AVX2 and FMA: 8 lanes
  kAvx512 = 2,      // AVX-512 F, BW, DQ, VL: 16 lanes
  kAvx512Bf16 = 3,  // AVX512-BF16: products of bfloat16 vectors
  kAmx = 4,         // AMX-BF16, permitted by the operating system: products of bfloat16 tiles
};

// The highest level that this processor and this library have, and that KERASPTB_CPU (one of the names below) allows.
// Determined at the first call.
CpuLevel cpu_level();

// "baseline", "avx2", "avx512", "avx512bf16" or "amx".
const char* cpu_level_name(CpuLevel level);

}  // namespace kerasptb

// A function that is compiled once for each level is declared once, for all of them: float32 kernels by
// KERASPTB_DECLARE(void lstm_forward(const LayerForward&)), bfloat16 kernels by KERASPTB_DECLARE_BFLOAT16.
#define KERASPTB_DECLARE(...) \
  namespace baseline {        \
  __VA_ARGS__;                \
  }                           \
  namespace avx2 {            \
  __VA_ARGS__;                \
  }                           \
  namespace avx512 {          \
  __VA_ARGS__;                \
  }
#define KERASPTB_DECLARE_BFLOAT16(...) \
  namespace avx512bf16 {               \
  __VA_ARGS__;                         \
  }                                    \
  namespace amx {                      \
  __VA_ARGS__;                         \
  }

// KERASPTB_DISPATCH(lstm_forward)(arguments) calls the function of the highest level, for float32 kernels. These have
// no versions above AVX-512, because the last two levels add instructions for bfloat16 alone.
// KERASPTB_DISPATCH_BFLOAT16 is for the bfloat16 kernels, which have versions for those two levels only.
#if KERASPTB_X86
#define KERASPTB_DISPATCH(function)                                                        \
  (::kerasptb::cpu_level() >= ::kerasptb::CpuLevel::kAvx512 ? ::kerasptb::avx512::function \
   : ::kerasptb::cpu_level() == ::kerasptb::CpuLevel::kAvx2 ? ::kerasptb::avx2::function   \
                                                            : ::kerasptb::baseline::function)
#else
#define KERASPTB_DISPATCH(function) (::kerasptb::baseline::function)
#endif
#if defined(KERASPTB_WITHOUT_AMX)
#define KERASPTB_DISPATCH_BFLOAT16(function) (::kerasptb::avx512bf16::function)
#else
#define KERASPTB_DISPATCH_BFLOAT16(function) \
  (::kerasptb::cpu_level() >= ::kerasptb::CpuLevel::kAmx ? ::kerasptb::amx::function : ::kerasptb::avx512bf16::function)
#endif
