// Memory that a kernel needs while it runs, kept by the calling thread for its next call.
#ifndef SOTTO_CORE_KERNELS_SCRATCH_H_
#define SOTTO_CORE_KERNELS_SCRATCH_H_

#include <cstdint>

namespace sotto {

// Uninitialized, aligned to 64 bytes, valid until the thread asks again; null where there is no
// memory.
char* KernelScratch(int64_t bytes);

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_SCRATCH_H_
