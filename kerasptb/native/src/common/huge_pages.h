// Huge pages for the arrays that kernels are given.
#pragma once

#include <cstddef>

namespace kerasptb {

// Asks the system to keep this array in pages of 2 MiB, as far as it allows that, and to move there what lies in small
// pages already. Kernels walk along columns of matrices, where each row is in another small page, and a processor knows
// the addresses of only some of these at a time. It is a hint: contents and addresses stay as they are. Does nothing
// for small arrays, outside of Linux, and where the administrator has switched huge pages off.
void prefer_huge_pages(const void* array, size_t bytes);

}  // namespace kerasptb
