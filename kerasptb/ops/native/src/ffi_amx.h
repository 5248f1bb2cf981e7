// Registration of the AMX kernels with XLA.
#pragma once

#include "xla/ffi/api/c_api.h"

namespace kerasptb {

// Returns null, or the name of the target that XLA refused. Registers nothing where cpu_level() is below kAmx.
const char* register_amx_handlers(const XLA_FFI_Api* api);

}  // namespace kerasptb
