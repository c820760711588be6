// Arithmetic on sizes that come from a file: computed in 64 bits, refused when it would wrap.
#ifndef SOTTO_CORE_BASE_CHECKED_H_
#define SOTTO_CORE_BASE_CHECKED_H_

#include <cstdint>
#include <optional>

namespace sotto {

inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}

inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_CHECKED_H_
