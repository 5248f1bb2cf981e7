#include "cuda/driver.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <set>
#include <tuple>

namespace kerasptb {
namespace cuda {
namespace {

// The part of cuda.h that is needed here. Results are ints, 0 for success, and handles are pointers.
using Handle = void*;
enum DeviceAttribute { kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76, kMaxSharedBytesOptIn = 97 };
enum FunctionAttribute { kBinaryVersion = 6, kMaxDynamicSharedBytes = 8, kNonPortableClusterAllowed = 14 };
enum CaptureMode { kRelaxed = 2 };
enum Result {
  kInvalidImage = 200,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kJitCompilerNotFound = 221,
  kUnsupportedPtxVersion = 222,
  kJitCompilationDisabled = 223
};

constexpr int kNeededMajor = 9;  // the major number of the least compute capability

// CUlaunchConfig.
struct LaunchConfiguration {
  unsigned blocks[3], threads[3], shared_bytes;
  Handle stream;
  void* attributes;
  unsigned attribute_count;
};

struct Driver {
  std::string error;  // why it cannot be used; empty if it can
  int version = 0;

  int (*cuInit)(unsigned) = nullptr;
  int (*cuDriverGetVersion)(int*) = nullptr;
  int (*cuGetErrorString)(int, const char**) = nullptr;
  int (*cuDeviceGet)(int*, int) = nullptr;
  int (*cuDeviceGetCount)(int*) = nullptr;
  int (*cuDeviceGetAttribute)(int*, int, int) = nullptr;
  int (*cuStreamGetCtx)(Handle, Handle*) = nullptr;
  int (*cuThreadExchangeStreamCaptureMode)(int*) = nullptr;
  int (*cuCtxPushCurrent)(Handle) = nullptr;
  int (*cuCtxPopCurrent)(Handle*) = nullptr;
  int (*cuCtxGetDevice)(int*) = nullptr;
  int (*cuDevicePrimaryCtxRetain)(Handle*, int) = nullptr;
  int (*cuDevicePrimaryCtxRelease)(int) = nullptr;
  int (*cuLibraryLoadData)(Handle*, const void*, void*, void*, unsigned, void*, void*, unsigned) = nullptr;
  int (*cuLibraryGetKernel)(Handle*, Handle, const char*) = nullptr;
  int (*cuKernelGetAttribute)(int*, int, Handle, int) = nullptr;
  int (*cuKernelSetAttribute)(int, int, Handle, int) = nullptr;
  int (*cuOccupancyMaxActiveClusters)(int*, Handle, const LaunchConfiguration*) = nullptr;
  int (*cuLaunchKernel)(Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**,
                        void**) = nullptr;

  std::string words(int result) const {
    const char* text = nullptr;
    if (cuGetErrorString == nullptr || cuGetErrorString(result, &text) != 0 || text == nullptr) text = "unknown";
    return std::string(text) + " (CUDA error " + std::to_string(result) + ")";
  }
};

template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Driver open_driver() {
  Driver d;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    d.error = std::string("there is no NVIDIA driver: ") + (reason == nullptr ? "libcuda.so.1 was not found" : reason);
    return d;
  }
  const bool any = find(library, "cuInit", d.cuInit) && find(library, "cuDriverGetVersion", d.cuDriverGetVersion) &&
                   find(library, "cuGetErrorString", d.cuGetErrorString);
  if (!any || d.cuDriverGetVersion(&d.version) != 0) {
    d.error = "libcuda.so.1 is not a usable NVIDIA driver";
    return d;
  }
  // cuda.h defines the names without _v2 as those with it.
  // clang-format off
  const bool all = find(library, "cuDeviceGet", d.cuDeviceGet) &&
                   find(library, "cuDeviceGetCount", d.cuDeviceGetCount) &&
                   find(library, "cuDeviceGetAttribute", d.cuDeviceGetAttribute) &&
                   find(library, "cuStreamGetCtx", d.cuStreamGetCtx) &&
                   find(library, "cuThreadExchangeStreamCaptureMode", d.cuThreadExchangeStreamCaptureMode) &&
                   find(library, "cuCtxPushCurrent_v2", d.cuCtxPushCurrent) &&
                   find(library, "cuCtxPopCurrent_v2", d.cuCtxPopCurrent) &&
                   find(library, "cuCtxGetDevice", d.cuCtxGetDevice) &&
                   find(library, "cuDevicePrimaryCtxRetain", d.cuDevicePrimaryCtxRetain) &&
                   find(library, "cuDevicePrimaryCtxRelease_v2", d.cuDevicePrimaryCtxRelease) &&
                   find(library, "cuLibraryLoadData", d.cuLibraryLoadData) &&
                   find(library, "cuLibraryGetKernel", d.cuLibraryGetKernel) &&
                   find(library, "cuKernelGetAttribute", d.cuKernelGetAttribute) &&
                   find(library, "cuKernelSetAttribute", d.cuKernelSetAttribute) &&
                   find(library, "cuOccupancyMaxActiveClusters", d.cuOccupancyMaxActiveClusters) &&
                   find(library, "cuLaunchKernel", d.cuLaunchKernel);
  // clang-format on
  if (!all || d.version < 12000) {
    d.error = "the NVIDIA driver is too old: it serves CUDA " + version_text(d.version) + ", and 12.0 is needed";
    return d;
  }
  if (const int result = d.cuInit(0); result != 0) d.error = "the NVIDIA driver does not start: " + d.words(result);
  return d;
}

const Driver& driver() {
  static const Driver instance = open_driver();
  return instance;
}

// Our kernels, known to the driver; it loads them onto a GPU when one is first launched there.
struct Library {
  std::string error;
  Handle handle = nullptr;
};

const Library& library() {
  static const Library instance = [] {
    Library result;
    const Driver& d = driver();
    if (!d.error.empty()) {
      result.error = d.error;
    } else if (kerasptb_fatbin_size == 0) {
      result.error = "built without CUDA code (there was no nvcc)";
    } else if (d.version / 1000 < kerasptb_fatbin_nvcc) {
      // Checked here, because a driver may refuse such code only when a kernel is launched.
      const std::string needed = std::to_string(kerasptb_fatbin_nvcc);
      result.error = "the code was made by nvcc " + needed + ", and the driver serves CUDA " + version_text(d.version) +
                     ": it needs a driver of CUDA " + needed + ", or code of an older nvcc (name one in " +
                     "KERASPTB_NVCC and run `kerasptb build`)";
    } else if (const int code =
                   d.cuLibraryLoadData(&result.handle, kerasptb_fatbin, nullptr, nullptr, 0, nullptr, nullptr, 0);
               code != 0) {
      result.error = "the driver (of CUDA " + version_text(d.version) + ") does not take our code: " + d.words(code);
    }
    return result;
  }();
  return instance;
}

std::string find_kernel(const char* name, Handle* kernel) {
  static std::mutex mutex;
  static std::map<std::string, Handle> known;
  if (!library().error.empty()) return library().error;
  const std::lock_guard<std::mutex> lock(mutex);
  if (const auto entry = known.find(name); entry != known.end()) {
    *kernel = entry->second;
    return "";
  }
  if (const int result = driver().cuLibraryGetKernel(kernel, library().handle, name); result != 0)
    return driver().words(result);
  known[name] = *kernel;
  return "";
}

std::string device_of(void* stream, int* device) {
  const Driver& d = driver();
  int result;
  if (stream == nullptr) {
    result = d.cuCtxGetDevice(device);
  } else {
    Handle context = nullptr;
    result = d.cuStreamGetCtx(stream, &context);
    if (result == 0) result = d.cuCtxPushCurrent(context);
    if (result == 0) {
      result = d.cuCtxGetDevice(device);
      const int popped = d.cuCtxPopCurrent(&context);
      if (result == 0) result = popped;
    }
  }
  return result == 0 ? "" : "the GPU of the stream is not known: " + d.words(result);
}

std::string shared_bytes_of(int device, int64_t* bytes) {
  int value = 0;
  const int result = driver().cuDeviceGetAttribute(&value, kMaxSharedBytesOptIn, device);
  *bytes = value;
  return result == 0 ? "" : driver().words(result);
}

bool has_much_shared(const Launch& a) { return a.shared_bytes > kSharedBytesWithoutOptIn; }
bool has_large_cluster(const Launch& a) { return a.cluster_blocks > kPortableClusterBlocks; }

// Opts a kernel on a GPU in to the shared memory and the cluster size of this launch, if it needs more than is always
// allowed.
std::string allow(Handle kernel, int device, const Launch& a) {
  const auto set = [&](int attribute, int value, const std::string& without) {
    const int result = driver().cuKernelSetAttribute(attribute, value, kernel, device);
    return result == 0 ? "" : without + ": " + driver().words(result);
  };
  std::string error;
  if (has_much_shared(a)) {
    int64_t most = 0;
    error = shared_bytes_of(device, &most);
    if (error.empty())
      error = set(kMaxDynamicSharedBytes, static_cast<int>(most), "no more than 48 KiB of shared memory");
  }
  if (error.empty() && has_large_cluster(a))
    error = set(kNonPortableClusterAllowed, 1, "no cluster of " + std::to_string(a.cluster_blocks) + " thread blocks");
  return error;
}

// `allow` for the GPU of a stream, once for each kernel and GPU.
std::string opt_in(Handle kernel, void* stream, const Launch& a) {
  static std::mutex mutex;
  static std::set<std::tuple<Handle, int, bool, bool>> allowed;
  if (!has_much_shared(a) && !has_large_cluster(a)) return "";
  int device = 0;
  if (std::string error = device_of(stream, &device); !error.empty()) return error;
  const std::lock_guard<std::mutex> lock(mutex);
  const std::tuple<Handle, int, bool, bool> key = {kernel, device, has_much_shared(a), has_large_cluster(a)};
  if (allowed.count(key) != 0) return "";
  std::string error = allow(kernel, device, a);
  if (error.empty()) allowed.insert(key);
  return error;
}

// Lets this thread load code while a stream is being captured into a CUDA graph. The driver forbids it by default, but
// the first launch of a kernel on a GPU loads code. What is loaded stays loaded, so the graph does not depend on it.
class MayLoadCode {
 public:
  MayLoadCode() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  ~MayLoadCode() { driver().cuThreadExchangeStreamCaptureMode(&mode_); }
  MayLoadCode(const MayLoadCode&) = delete;
  MayLoadCode& operator=(const MayLoadCode&) = delete;

 private:
  int mode_ = kRelaxed;  // the mode to exchange for: the former mode, once this is constructed
};

std::string try_launch(const Launch& a, void* stream) {
  if (!driver().error.empty()) return driver().error;
  const MayLoadCode permission;
  Handle kernel = nullptr;
  if (std::string error = find_kernel(a.kernel, &kernel); !error.empty()) return error;
  if (a.blocks < 1 || a.blocks > INT32_MAX) return "too large: it would take " + std::to_string(a.blocks) + " blocks";
  if (std::string error = opt_in(kernel, stream, a); !error.empty()) return error;
  void* arguments[] = {const_cast<void*>(a.arguments)};
  const int result =
      driver().cuLaunchKernel(kernel, static_cast<unsigned>(a.blocks), 1, 1, static_cast<unsigned>(a.threads), 1, 1,
                              static_cast<unsigned>(a.shared_bytes), stream, arguments, nullptr);
  return result == 0 ? "" : driver().words(result);
}

}  // namespace

std::string why_not(int device, DeviceReport* report) {
  const Driver& d = driver();
  DeviceReport found = {d.version, 0, 0, 0};
  int handle = 0;
  if (d.error.empty() && d.cuDeviceGetCount(&found.devices) == 0 && device >= 0 && device < found.devices &&
      d.cuDeviceGet(&handle, device) == 0) {
    d.cuDeviceGetAttribute(&found.major, kComputeCapabilityMajor, handle);
    d.cuDeviceGetAttribute(&found.minor, kComputeCapabilityMinor, handle);
  }
  if (report != nullptr) *report = found;
  if (!d.error.empty()) return d.error;
  if (found.major == 0)
    return "there is no GPU " + std::to_string(device) + ": the driver shows " + std::to_string(found.devices);
  if (found.major < kNeededMajor)
    return "needs compute capability 9.0 (thread-block clusters); this GPU has " + std::to_string(found.major) + "." +
           std::to_string(found.minor);
  Handle kernel = nullptr;
  if (std::string error = find_kernel("kerasptb_column_sums", &kernel); !error.empty()) return error;
  // Asking for an attribute makes the driver choose the code for this GPU. Only these errors mean that there is none;
  // others may have another cause, such as a missing context.
  int version = 0;
  const int result = d.cuKernelGetAttribute(&version, kBinaryVersion, kernel, handle);
  if (result == kInvalidImage || result == kNoBinaryForGpu || result == kInvalidPtx || result == kJitCompilerNotFound ||
      result == kUnsupportedPtxVersion || result == kJitCompilationDisabled)
    return "the driver (of CUDA " + version_text(d.version) +
           ") has no use for our code on this GPU: " + d.words(result);
  return "";
}

std::string launch(const Launch& a, void* stream) {
  const std::string error = try_launch(a, stream);
  return error.empty() ? error : std::string(a.kernel) + " (" + a.shape + "): " + error;
}

bool has_room(const Launch& a, int device) {
  const Driver& d = driver();
  int handle = 0;
  Handle kernel = nullptr, context = nullptr;
  if (!d.error.empty()) return false;
  const MayLoadCode permission;
  if (!find_kernel(a.kernel, &kernel).empty() || d.cuDeviceGet(&handle, device) != 0 ||
      d.cuDevicePrimaryCtxRetain(&context, handle) != 0)
    return false;
  int clusters = 0;
  if (d.cuCtxPushCurrent(context) == 0) {
    const LaunchConfiguration configuration = {{static_cast<unsigned>(a.cluster_blocks), 1, 1},
                                               {static_cast<unsigned>(a.threads), 1, 1},
                                               static_cast<unsigned>(a.shared_bytes),
                                               nullptr,
                                               nullptr,
                                               0};
    // An error also means that there is no room.
    if (!allow(kernel, handle, a).empty() || d.cuOccupancyMaxActiveClusters(&clusters, kernel, &configuration) != 0)
      clusters = 0;
    d.cuCtxPopCurrent(&context);
  }
  d.cuDevicePrimaryCtxRelease(handle);
  return clusters > 0;
}

std::string max_shared_bytes(void* stream, int64_t* bytes) {
  int device = 0;
  if (!driver().error.empty()) return driver().error;
  if (std::string error = device_of(stream, &device); !error.empty()) return error;
  return shared_bytes_of(device, bytes);
}

}  // namespace cuda
}  // namespace kerasptb
