// The CUDA driver, opened when it is first needed, and the launch of our embedded kernels through it. Neither a CUDA
// header nor a CUDA library is needed to compile or to load this; without a driver every call says so.
//
// The build defines three symbols: the fat binary made of cuda/kernels.cu, its size, 0 where there was no nvcc, and the
// major version of the nvcc, 0 where it is not known.
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

// Why our kernels cannot run on this GPU, in a line; empty if they can. Asks the driver and no framework, and makes no
// context on the GPU. report may be null.
std::string obstacle(int device, DeviceReport* report);

// A cluster of more blocks is a GPU's own choice to place or not.
constexpr int kPortableClusterBlocks = 8;

struct Launch {
  const char* kernel;
  std::string shape;       // for the message if it fails: "batch 60, steps 20, units 256"
  int64_t blocks;          // of the grid, which has one dimension
  int64_t threads;         // of a block
  int64_t shared_bytes;    // dynamic shared memory of a block
  const void* arguments;   // the kernel's one argument, a struct that it takes by value
  int cluster_blocks = 1;  // of a cluster, as the kernel is compiled
};

// Every kernel starts on the stream; asynchronous. Empty, or the error in a line.
std::string launch(const Launch&, void* stream);

// Whether the GPU has room for a cluster of this launch, of which `blocks` and `arguments` do not matter. Makes the
// GPU's primary context, the one that frameworks use, if there is none, and then lets go of it again.
bool has_room(const Launch&, int device);

// The dynamic shared memory that a block may ask for on the GPU of this stream.
std::string most_shared_bytes(void* stream, int64_t* bytes);

}  // namespace cuda
}  // namespace kerasptb
