// XLA FFI handler of dropout. Signature: dropout/dropout.h.
#include "dropout/dropout.h"

#include "common/cpu.h"
#include "ffi/call.h"
#include "ffi/handlers.h"

namespace kerasptb {
namespace {

ffi::Error dropout(Call& call) {
  Dropout a{};
  const int32_t* seed;
  const float* keep_prob;
  const Shape shape = call.next_shape();
  a.size = call.in(a.x, shape);
  call.in(seed, {2});
  call.in(keep_prob, {});
  const int32_t* first = nullptr;
  if (call.arguments_left() > 0) call.in(first, {});
  call.out(a.y, shape);
  if (ffi::Error error = call.check("kerasptb_dropout"); error.failure()) return error;
  a.key[0] = static_cast<uint32_t>(seed[0]);
  a.key[1] = static_cast<uint32_t>(seed[1]);
  a.keep_prob = *keep_prob;
  if (first != nullptr) a.first = *first;
  if (a.first < 0) return ffi::Error::InvalidArgument("kerasptb_dropout: `first` must be at least 0");
  if (!(a.keep_prob > 0 && a.keep_prob <= 1))
    return ffi::Error::InvalidArgument("`keep_prob` must be in (0, 1]. Received: keep_prob=" +
                                       std::to_string(a.keep_prob));
  return run([&] { KERASPTB_DISPATCH(dropout)(a); });
}

}  // namespace

std::vector<Handler> dropout_handlers() { return {{"kerasptb_dropout_float32", "Host", on_cpu<dropout>}}; }

}  // namespace kerasptb
