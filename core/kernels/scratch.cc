#include "core/kernels/scratch.h"

#include <cstdlib>

namespace sotto {
namespace {

struct Scratch {
  char* data = nullptr;
  int64_t bytes = 0;
  ~Scratch() { std::free(data); }
};
thread_local Scratch scratch;

}  // namespace

char* KernelScratch(int64_t bytes) {
  if (bytes > scratch.bytes) {
    bytes = (bytes + 4095) / 4096 * 4096;
    std::free(scratch.data);
    scratch.data = static_cast<char*>(std::aligned_alloc(64, static_cast<size_t>(bytes)));
    scratch.bytes = scratch.data == nullptr ? 0 : bytes;
  }
  return scratch.data;
}

}  // namespace sotto
