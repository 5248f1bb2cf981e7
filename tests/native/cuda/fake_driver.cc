// Stands in for the CUDA driver, libcuda.so.1: the functions that cuda/driver.cc looks for, on kernels compiled for the
// emulator. It refuses what a real one refuses; a launch runs at once, to its end.
#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "emulator.h"

namespace {

// Numbers of cuda.h.
enum Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kNotInitialized = 3,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidHandle = 400,
  kNotFound = 500,
  kStreamCaptureUnsupported = 900,
  kLaunchOutOfResources = 701,
  kLaunchFailed = 719,
  kInvalidClusterSize = 912,
};
enum DeviceAttribute { kMajor = 75, kMinor = 76, kSharedBytesOptIn = 97 };
enum FunctionAttribute { kBinaryVersion = 6, kMaxDynamicSharedBytes = 8, kNonPortableClusterAllowed = 14 };

struct {
  int version = 13000, devices = 1, major = 9, minor = 0;
  int64_t shared_bytes = 232448;  // that a kernel may be allowed: 227 KiB
  unsigned cluster_blocks = 16;   // that a cluster may have
} settings;
bool initialized = false;
int contexts = 0;  // pushed and not popped
int current_device = -1;
int capture_mode = 1;  // of the thread: 1 may not load code while a stream is captured, 2 may
bool capturing = false, loaded = false;
std::string launches, fault;
// The shared memory that a kernel may ask for on a GPU, where that is more than it may everywhere.
std::map<std::pair<const void*, int>, int64_t> granted;
constexpr int64_t kSharedBytesEverywhere = 48 * 1024;
// Kernels that may have clusters of more blocks than every GPU can place.
std::set<std::pair<const void*, int>> large_clusters;
constexpr unsigned kClusterBlocksEverywhere = 8;
int retained = 0;  // primary contexts

constexpr char kImage[] = "kernels for the emulator";
int library;

int device_of(void* context) { return static_cast<int>(reinterpret_cast<intptr_t>(context)) - 200; }
bool can_place(const emulator::Kernel& kernel, int device) {
  return kernel.cluster <= kClusterBlocksEverywhere ||
         (kernel.cluster <= settings.cluster_blocks && large_clusters.count({&kernel, device}) != 0);
}
bool has_code() { return settings.major >= 9 && settings.major <= 12; }

}  // namespace

#define CONTROL(type) extern "C" __attribute__((visibility("default"))) type
#define DRIVER CONTROL(int)

CONTROL(void)
fake_driver_configure(int version, int devices, int major, int minor, int64_t shared_bytes, unsigned cluster_blocks) {
  settings = {version, devices, major, minor, shared_bytes, cluster_blocks};
}
CONTROL(void) fake_driver_capture(int begin) { capturing = begin != 0; }
CONTROL(int) fake_driver_capture_mode() { return capture_mode; }
CONTROL(void) fake_driver_schedule(unsigned seed) { emulator::schedule = seed; }
CONTROL(void) fake_driver_forget() { launches.clear(); }
// A line for each launch: name, blocks, threads, shared memory.
CONTROL(const char*) fake_driver_launches() { return launches.c_str(); }
CONTROL(int) fake_driver_contexts() { return contexts + retained; }
// Whether some kernel was granted more shared memory on this GPU.
CONTROL(int) fake_driver_granted(int device) {
  for (const auto& grant : granted)
    if (grant.first.second == device) return 1;
  return 0;
}

DRIVER cuInit(unsigned) {
  if (settings.devices == 0) return kNoDevice;
  initialized = true;
  return kSuccess;
}
DRIVER cuDriverGetVersion(int* version) {
  *version = settings.version;
  return kSuccess;
}
DRIVER cuGetErrorString(int result, const char** words) {
  switch (result) {
    case kInvalidValue: *words = "invalid argument"; break;
    case kNoDevice: *words = "no CUDA-capable device is detected"; break;
    case kNoBinaryForGpu: *words = "no kernel image is available for execution on the device"; break;
    case kInvalidImage: *words = "device kernel image is invalid"; break;
    case kInvalidContext: *words = "invalid device context"; break;
    case kNotFound: *words = "named symbol not found"; break;
    case kLaunchOutOfResources: *words = "too many resources requested for launch"; break;
    case kLaunchFailed: *words = fault.c_str(); break;
    case kStreamCaptureUnsupported: *words = "operation not permitted when stream is capturing"; break;
    case kInvalidClusterSize: *words = "invalid cluster size"; break;
    default: *words = nullptr; return kInvalidValue;
  }
  return kSuccess;
}
DRIVER cuDeviceGetCount(int* count) {
  *count = settings.devices;
  return initialized ? kSuccess : kNotInitialized;
}
DRIVER cuDeviceGet(int* device, int ordinal) {
  *device = ordinal;
  return ordinal >= 0 && ordinal < settings.devices ? kSuccess : kInvalidDevice;
}
DRIVER cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (device < 0 || device >= settings.devices) return kInvalidDevice;
  switch (attribute) {
    case kMajor: *value = settings.major; return kSuccess;
    case kMinor: *value = settings.minor; return kSuccess;
    case kSharedBytesOptIn: *value = static_cast<int>(settings.shared_bytes); return kSuccess;
    default: return kInvalidValue;
  }
}

// A stream of device d is the handle 100 + d, and its context 200 + d.
DRIVER cuStreamGetCtx(void* stream, void** context) {
  const auto handle = reinterpret_cast<intptr_t>(stream);
  if (handle < 100 || handle >= 100 + settings.devices) return kInvalidHandle;
  *context = reinterpret_cast<void*>(handle + 100);
  return kSuccess;
}
DRIVER cuCtxPushCurrent_v2(void* context) {
  current_device = device_of(context);
  ++contexts;
  return kSuccess;
}
DRIVER cuCtxPopCurrent_v2(void** context) {
  *context = reinterpret_cast<void*>(static_cast<intptr_t>(current_device) + 200);
  --contexts;
  current_device = -1;
  return kSuccess;
}
DRIVER cuCtxGetDevice(int* device) {
  *device = current_device;
  return current_device < 0 ? kInvalidContext : kSuccess;
}

DRIVER cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = reinterpret_cast<void*>(static_cast<intptr_t>(device) + 200);
  ++retained;
  return kSuccess;
}
DRIVER cuDevicePrimaryCtxRelease_v2(int) {
  --retained;
  return kSuccess;
}

DRIVER cuThreadExchangeStreamCaptureMode(int* mode) {
  std::swap(*mode, capture_mode);
  return kSuccess;
}

DRIVER cuLibraryLoadData(void** result, const void* code, void*, void*, unsigned, void*, void*, unsigned) {
  if (!initialized) return kNotInitialized;
  if (capturing && capture_mode != 2) return kStreamCaptureUnsupported;
  if (memcmp(code, kImage, sizeof kImage) != 0) return kInvalidImage;
  *result = &library;
  return kSuccess;
}
DRIVER cuLibraryGetKernel(void** kernel, void* from, const char* name) {
  if (from != &library) return kInvalidHandle;
  *kernel = emulator::Kernel::find(name);
  return *kernel == nullptr ? kNotFound : kSuccess;
}
DRIVER cuKernelGetAttribute(int* value, int attribute, void*, int) {
  if (attribute != kBinaryVersion) return kInvalidValue;
  *value = 10 * settings.major + settings.minor;
  return has_code() ? kSuccess : kNoBinaryForGpu;
}
DRIVER cuKernelSetAttribute(int attribute, int value, void* kernel, int device) {
  if (device < 0 || device >= settings.devices) return kInvalidDevice;
  if (attribute == kNonPortableClusterAllowed && value == 1) {
    large_clusters.insert({kernel, device});
    return kSuccess;
  }
  if (attribute != kMaxDynamicSharedBytes || value > settings.shared_bytes) return kInvalidValue;
  granted[{kernel, device}] = value;
  return kSuccess;
}

struct Configuration {  // CUlaunchConfig
  unsigned blocks[3], threads[3], shared_bytes;
  void *stream, *attributes;
  unsigned attribute_count;
};
DRIVER cuOccupancyMaxActiveClusters(int* clusters, void* function, const Configuration* configuration) {
  const auto& kernel = *static_cast<const emulator::Kernel*>(function);
  if (current_device < 0) return kInvalidContext;
  if (configuration->blocks[0] % kernel.cluster != 0 || !can_place(kernel, current_device)) return kInvalidClusterSize;
  *clusters = configuration->shared_bytes <= settings.shared_bytes ? 1 : 0;
  return kSuccess;
}

DRIVER cuLaunchKernel(void* function, unsigned blocks, unsigned blocks_y, unsigned blocks_z, unsigned threads,
                      unsigned threads_y, unsigned threads_z, unsigned shared_bytes, void* stream, void** arguments,
                      void** extra) {
  const auto& kernel = *static_cast<const emulator::Kernel*>(function);
  int device = current_device;
  if (!has_code()) return kNoBinaryForGpu;
  if (stream != nullptr) {
    void* context = nullptr;
    if (cuStreamGetCtx(stream, &context) != kSuccess) return kInvalidHandle;
    device = device_of(context);
  }
  if (device < 0) return kInvalidContext;
  if (blocks == 0 || blocks > 0x7fffffffu || threads == 0 || extra != nullptr) return kInvalidValue;
  if (blocks_y != 1 || blocks_z != 1 || threads_y != 1 || threads_z != 1) return kInvalidValue;
  if (threads > kernel.threads) return kLaunchOutOfResources;
  const auto grant = granted.find({function, device});
  if (shared_bytes > (grant == granted.end() ? kSharedBytesEverywhere : grant->second)) return kInvalidValue;
  if (blocks % kernel.cluster != 0 || !can_place(kernel, device)) return kInvalidClusterSize;
  // The code comes onto the GPU with the first launch.
  if (!loaded && capturing && capture_mode != 2) return kStreamCaptureUnsupported;
  loaded = true;
  launches += std::string(kernel.name) + " " + std::to_string(blocks) + " " + std::to_string(threads) + " " +
              std::to_string(shared_bytes) + "\n";
  fault = emulator::run(kernel, arguments[0], blocks, threads, shared_bytes);
  return fault.empty() ? kSuccess : kLaunchFailed;
}
