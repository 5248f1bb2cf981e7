// The CUDA driver, opened when it is first needed, and the launch of our embedded kernels through it. Neither a CUDA
// header nor a CUDA library is needed to compile or load this; if there is no driver, every call returns an error that
// says so.
//
// The build defines three symbols: the fat binary of cuda/kernels.cu; its size, 0 if there was no nvcc; and the major
// version of the nvcc, 0 if it is not known.
#pragma once

#include <cstdint>
#include <string>

extern "C" const unsigned char kerasptb_fatbin[];
extern "C" const unsigned long long kerasptb_fatbin_size;
extern "C" const int kerasptb_fatbin_nvcc;

namespace kerasptb {
namespace cuda {

struct DeviceReport {
  int driver_version;  // the CUDA version that the driver serves, 1000 * major + 10 * minor; 0: there is no driver
  int devices;         // how many GPUs it shows
  int major, minor;    // compute capability of the GPU asked for; 0, 0 if it is not there
};

// Returns why our kernels cannot run on this GPU, in one line, or an empty string if they can. Asks the driver alone,
// not a framework, and creates no context on the GPU. report may be null.
std::string why_not(int device, DeviceReport* report);

// The most blocks of a cluster that every GPU can place.
constexpr int kPortableClusterBlocks = 8;
// The most dynamic shared memory, in bytes, that a launch on any GPU may ask for without opting in.
constexpr int64_t kSharedBytesWithoutOptIn = 48 * 1024;

struct Launch {
  const char* kernel;
  std::string shape;       // for the message if it fails: "batch 60, steps 20, units 256"
  int64_t blocks;          // blocks of the grid, which has one dimension
  int64_t threads;         // threads of a block
  int64_t shared_bytes;    // dynamic shared memory of a block
  const void* arguments;   // the kernel's only argument, a struct that it takes by value
  int cluster_blocks = 1;  // blocks of a cluster, as the kernel is compiled
};

// Launches the kernel on the stream, and does not wait for it. Returns an empty string, or the error in one line.
std::string launch(const Launch&, void* stream);

// Whether the GPU has room for a cluster of this launch, whose `blocks` and `arguments` are not used. Creates the GPU's
// primary context, the one that frameworks use, if there is none, and releases it again.
bool has_room(const Launch&, int device);

// The dynamic shared memory that a block may ask for on the GPU of this stream.
std::string max_shared_bytes(void* stream, int64_t* bytes);

}  // namespace cuda
}  // namespace kerasptb
