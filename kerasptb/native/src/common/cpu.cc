#include "common/cpu.h"

#include <cstdint>
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

#if KERASPTB_X86
// What the operating system saves of the registers when threads take turns, XCR0. Not `__builtin_cpu_supports`: its
// tables belong to the compiler's runtime, and that of zig leaves them empty.
uint64_t saved_registers() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool has_all(uint64_t bits, uint64_t wanted) { return (bits & wanted) == wanted; }
#endif

// The processor's level. The permission for AMX is requested only if `limit` allows AMX.
CpuLevel detect(CpuLevel limit) {
#if KERASPTB_X86
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28;  // of CPUID leaf 1, ECX
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has_all(ecx, kFma | kOsxsave | kAvx)) return CpuLevel::kBaseline;
  constexpr unsigned kAvx2 = 1u << 5, kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;  // of leaf 7, EBX
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;                                                         // of XCR0
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return CpuLevel::kBaseline;
  const uint64_t saved = saved_registers();
  if (!has_all(ebx, kAvx2) || !has_all(saved, kYmm)) return CpuLevel::kBaseline;
  if (!has_all(ebx, kF | kDq | kBw | kVl) || !has_all(saved, kZmm)) return CpuLevel::kAvx2;
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
