// Huge pages for the buffers of a call.
#pragma once

#include "huge_pages.h"
#include "xla/ffi/api/ffi.h"

namespace kerasptb {

template <class... Buffers>
void prefer_huge_pages_for(const Buffers&... buffers) {
  (prefer_huge_pages(buffers.untyped_data(), buffers.size_bytes()), ...);
}

}  // namespace kerasptb
