// What the processor can do, and what the environment allows it to.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define KERASPTB_X86 1
#else
#define KERASPTB_X86 0
#endif

namespace kerasptb {

// Each level includes those before it. Every kernel is compiled once a level, into the namespace of the same name.
enum class CpuLevel {
  kBaseline = 0,  // x86-64 (SSE2), aarch64 (NEON): 4 lanes of float32
  kAvx2 = 1,      // AVX2 and FMA: 8 lanes
  kAvx512 = 2,    // AVX-512 F, BW, DQ, VL: 16 lanes
  kAmx = 3,       // AVX-512-BF16 and AMX-BF16, granted by the operating system
};

// The highest level that this processor has and KERASPTB_CPU (baseline, avx2, avx512, amx) allows. Found once.
CpuLevel cpu_level();

// "baseline", "avx2", "avx512" or "amx".
const char* cpu_level_name(CpuLevel level);

}  // namespace kerasptb

// KERASPTB_DISPATCH(lstm_forward)(arguments): the function of the highest level. AMX has no float32 products, so the
// float32 kernels stop at AVX-512.
#if KERASPTB_X86
#define KERASPTB_DISPATCH(function)                                                     \
  (::kerasptb::cpu_level() >= ::kerasptb::CpuLevel::kAvx512  ? ::kerasptb::avx512::function \
   : ::kerasptb::cpu_level() == ::kerasptb::CpuLevel::kAvx2 ? ::kerasptb::avx2::function   \
                                                             : ::kerasptb::baseline::function)
#else
#define KERASPTB_DISPATCH(function) (::kerasptb::baseline::function)
#endif
