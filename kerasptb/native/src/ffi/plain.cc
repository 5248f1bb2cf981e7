// The handlers for a host without XLA, such as PyTorch, as one C function. It calls them as XLA does, so that no
// operation has code for it; of the functions of XLA they use the one that makes an error.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/exports.h"
#include "common/threads.h"
#include "ffi/handlers.h"
#include "xla/ffi/api/c_api.h"

struct XLA_FFI_Error {
  std::string message;
};

namespace kerasptb {
namespace {

XLA_FFI_Error* make_error(XLA_FFI_Error_Create_Args* arguments) { return new XLA_FFI_Error{arguments->message}; }

const XLA_FFI_Api& api() {
  static const XLA_FFI_Api api = [] {
    XLA_FFI_Api api = {};
    api.struct_size = XLA_FFI_Api_STRUCT_SIZE;
    api.api_version = {XLA_FFI_Api_Version_STRUCT_SIZE, nullptr, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
    api.XLA_FFI_Error_Create = make_error;
    return api;
  }();
  return api;
}

// Takes a description's next arrays, whose data lie at the next addresses.
std::vector<XLA_FFI_Buffer> next_buffers(int64_t count, const int64_t*& description, void* const*& addresses) {
  std::vector<XLA_FFI_Buffer> buffers(count);
  for (XLA_FFI_Buffer& buffer : buffers) {
    buffer.struct_size = XLA_FFI_Buffer_STRUCT_SIZE;
    buffer.dtype = static_cast<XLA_FFI_DataType>(*description++);
    buffer.data = *addresses++;
    buffer.rank = *description++;
    buffer.dims = const_cast<int64_t*>(description);
    description += buffer.rank;
  }
  return buffers;
}

template <class T>
std::vector<void*> pointers_to(std::vector<T>& values) {
  std::vector<void*> pointers;
  for (T& value : values) pointers.push_back(&value);
  return pointers;
}

}  // namespace
}  // namespace kerasptb

using namespace kerasptb;

// Makes kernels run on the host's threads, see common/threads.h.
KERASPTB_EXPORT void kerasptb_use_openmp(decltype(OpenMp::parallel) parallel, decltype(OpenMp::thread_number) number,
                                         decltype(OpenMp::thread_count) count) {
  use_openmp({parallel, number, count});
}

// Calls a handler of the platform "Host" on row-major arrays in place. `description` has the numbers of arguments,
// results and attributes; then for each argument and each result its type, as XLA numbers them, its rank and its sizes.
// Attributes are bools. Returns null, or what is wrong, valid until this thread's next call.
KERASPTB_EXPORT const char* kerasptb_call(XLA_FFI_Handler* handler, const int64_t* description, void* const* addresses,
                                          const char* const* attribute_names, const bool* attribute_values) {
  const int64_t num_arguments = *description++, num_results = *description++, num_attributes = *description++;
  std::vector<XLA_FFI_Buffer> arguments = next_buffers(num_arguments, description, addresses);
  std::vector<XLA_FFI_Buffer> results = next_buffers(num_results, description, addresses);
  std::vector<XLA_FFI_ByteSpan> names;
  std::vector<XLA_FFI_Scalar> values;
  for (int64_t i = 0; i < num_attributes; ++i) {
    names.push_back({attribute_names[i], std::char_traits<char>::length(attribute_names[i])});
    values.push_back({XLA_FFI_DataType_PRED, const_cast<bool*>(&attribute_values[i])});
  }
  std::vector<void*> argument_pointers = pointers_to(arguments), result_pointers = pointers_to(results);
  std::vector<void*> value_pointers = pointers_to(values);
  std::vector<XLA_FFI_ByteSpan*> name_pointers;
  for (XLA_FFI_ByteSpan& name : names) name_pointers.push_back(&name);
  std::vector<XLA_FFI_ArgType> argument_types(num_arguments, XLA_FFI_ArgType_BUFFER);
  std::vector<XLA_FFI_RetType> result_types(num_results, XLA_FFI_RetType_BUFFER);
  std::vector<XLA_FFI_AttrType> value_types(num_attributes, XLA_FFI_AttrType_SCALAR);

  XLA_FFI_CallFrame frame = {};
  frame.struct_size = XLA_FFI_CallFrame_STRUCT_SIZE;
  frame.api = &api();
  frame.stage = XLA_FFI_ExecutionStage_EXECUTE;
  frame.args = {XLA_FFI_Args_STRUCT_SIZE, nullptr, num_arguments, argument_types.data(), argument_pointers.data()};
  frame.rets = {XLA_FFI_Rets_STRUCT_SIZE, nullptr, num_results, result_types.data(), result_pointers.data()};
  frame.attrs = {XLA_FFI_Attrs_STRUCT_SIZE, nullptr, num_attributes, value_types.data(), name_pointers.data(),
                 value_pointers.data()};
  const std::unique_ptr<XLA_FFI_Error> error(handler(&frame));
  static thread_local std::string message;
  if (error == nullptr) return nullptr;
  message = error->message;
  return message.c_str();
}
