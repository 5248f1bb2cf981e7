// The library's C functions: the registration of all handlers, and what Python asks besides.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "cells/cells.h"
#include "common/cpu.h"
#include "common/exports.h"
#include "common/threads.h"
#include "cuda/driver.h"
#include "cuda/lstm_launcher.h"
#include "ffi/handlers.h"
#include "linear_cross_entropy/few_words.h"
#include "xla/ffi/api/ffi.h"

namespace kerasptb {
namespace {

const std::vector<Handler>& all_handlers() {
  static const std::vector<Handler> all = [] {
    std::vector<Handler> handlers;
    for (const auto& some :
         {cell_handlers(), linear_cross_entropy_handlers(), dropout_handlers(), optimizer_handlers(), cuda_handlers()})
      handlers.insert(handlers.end(), some.begin(), some.end());
    return handlers;
  }();
  return all;
}

// How many bfloat16 numbers stand for an operand in a precision, which Python names; 0 for float32 itself.
int parts_of(std::string_view precision) { return precision == "bfloat16x3" ? 2 : precision == "bfloat16" ? 1 : 0; }

}  // namespace
}  // namespace kerasptb

using namespace kerasptb;

// Registers every handler with the XLA that `api` belongs to. Returns null, or one line that says why this failed.
KERASPTB_EXPORT const char* kerasptb_register(const XLA_FFI_Api* api) {
  static char message[256];
  if (api->api_version.major_version != XLA_FFI_API_MAJOR || api->api_version.minor_version < XLA_FFI_API_MINOR) {
    std::snprintf(message, sizeof(message), "it speaks XLA FFI %d.%d, and the library was built for %d.%d",
                  api->api_version.major_version, api->api_version.minor_version, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
    return message;
  }
  for (const Handler& entry : all_handlers())
    if (XLA_FFI_Error* error = xla::ffi::Ffi::RegisterStaticHandler(api, entry.target, entry.platform, entry.handler)) {
      XLA_FFI_Error_Destroy_Args destroy{XLA_FFI_Error_Destroy_Args_STRUCT_SIZE, nullptr, error};
      api->XLA_FFI_Error_Destroy(&destroy);
      std::snprintf(message, sizeof(message), "it refused the handler %s for %s", entry.target, entry.platform);
      return message;
    }
  return nullptr;
}

// For a host that registers handlers itself: the i-th handler, or null past the last.
KERASPTB_EXPORT void* kerasptb_handler(int i, const char** target, const char** platform) {
  const std::vector<Handler>& all = all_handlers();
  if (i < 0 || static_cast<size_t>(i) >= all.size()) return nullptr;
  *target = all[i].target;
  *platform = all[i].platform;
  return reinterpret_cast<void*>(all[i].handler);
}

KERASPTB_EXPORT const char* kerasptb_cpu_level() { return cpu_level_name(cpu_level()); }

KERASPTB_EXPORT void kerasptb_set_processors(int count) { set_processors(count); }

KERASPTB_EXPORT int kerasptb_thread_count() { return thread_count(); }

// See linear_cross_entropy/few_words.h.
KERASPTB_EXPORT int64_t kerasptb_few_words_limit(const char* precision, int64_t features, int64_t vocabulary_size) {
  return few_words_limit(parts_of(precision), features, vocabulary_size);
}

// The shapes of `saved_arrays` (recurrence/layer.h) of a cell that has kernels, three sizes each, and the names of the
// dtypes. Returns the number of arrays, at most three.
KERASPTB_EXPORT int kerasptb_saved_arrays(const char* cell, const char* precision, int64_t batch, int64_t steps,
                                          int64_t features, int64_t units, int64_t operands, int64_t* sizes,
                                          const char** dtypes) {
  int count = 0;
#define KERASPTB_CELL(cell, Name) k##Name,
  for (const Cell& known : {KERASPTB_FOR_EACH_CELL(KERASPTB_CELL)})
#undef KERASPTB_CELL
    if (known.name == std::string_view(cell))
      for (const auto& array : saved_arrays(known, parts_of(precision), {batch, steps, features, units, operands})) {
        sizes = std::copy(array.shape.begin(), array.shape.end(), sizes);
        *dtypes++ = array.dtype;
        ++count;
      }
  return count;
}

// The kinds of steps of `SpecialSteps` (recurrence/recurrence.h).
KERASPTB_EXPORT int kerasptb_reset_step() { return SpecialSteps::kReset; }
KERASPTB_EXPORT int kerasptb_skipped_step() { return SpecialSteps::kSkipped; }

// Why the CUDA kernels cannot run on a GPU, as the driver counts them, in a line; empty if they can. Valid until this
// thread's next call.
KERASPTB_EXPORT const char* kerasptb_why_not_cuda(int device) {
  static thread_local std::string message;
  message = cuda::why_not(device, nullptr);
  return message.c_str();
}

// The most units that the CUDA recurrence takes on a GPU, with products in bfloat16 or in float32; see
// `cuda::max_units`.
KERASPTB_EXPORT int64_t kerasptb_cuda_max_units(const char* precision, int device) {
  return cuda::max_units(parts_of(precision) == 1 ? cuda::Precision::kBfloat16 : cuda::Precision::kFloat32, device);
}
