#include "common/cpu.h"

#include <cstdlib>
#include <cstring>

#if KERASPTB_X86
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace kerasptb {
namespace {

#if KERASPTB_BFLOAT16
bool has_avx512bf16() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kAvx512Bf16Bit = 1u << 5;  // of CPUID leaf 7, subleaf 1, EAX
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & kAvx512Bf16Bit);
}

// AMX needs the processor (CPUID), the operating system (XCR0) and, once per process, a permission for its 8 KB of tile
// state. The system call fails if either of the latter is missing.
bool amx_granted() {
#if defined(KERASPTB_WITHOUT_AMX)
  return false;
#elif defined(KERASPTB_AMX_INSTRUCTIONS)
  return true;  // the emulation of the tests, which runs on every processor
#elif defined(__linux__)
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  const bool amx_bfloat16 = edx & (1u << 22), amx_tile = edx & (1u << 24);  // of CPUID leaf 7, subleaf 0, EDX
  if (!amx_bfloat16 || !amx_tile) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

// The processor's level. The permission for AMX is requested only if `limit` allows AMX.
CpuLevel detect(CpuLevel limit) {
#if KERASPTB_X86
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuLevel::kBaseline;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return CpuLevel::kAvx2;
#if KERASPTB_BFLOAT16
  if (has_avx512bf16()) return limit == CpuLevel::kAmx && amx_granted() ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
#endif
  (void)limit;
  return CpuLevel::kAvx512;
#else
  (void)limit;
  return CpuLevel::kBaseline;
#endif
}

CpuLevel allowed() {
  const char* wish = std::getenv("KERASPTB_CPU");
  if (wish != nullptr)
    for (int level = 0; level < static_cast<int>(CpuLevel::kAmx); ++level)
      if (std::strcmp(wish, cpu_level_name(static_cast<CpuLevel>(level))) == 0) return static_cast<CpuLevel>(level);
  return CpuLevel::kAmx;  // unknown names have been refused in Python, which can report them
}

}  // namespace

CpuLevel cpu_level() {
  static const CpuLevel level = [] {
    const CpuLevel limit = allowed(), found = detect(limit);
    return found < limit ? found : limit;
  }();
  return level;
}

const char* cpu_level_name(CpuLevel level) {
  static const char* const names[] = {"baseline", "avx2", "avx512", "avx512bf16", "amx"};
  return names[static_cast<int>(level)];
}

}  // namespace kerasptb
