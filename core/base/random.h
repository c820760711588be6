// Counter-based random numbers: the value is a pure function of (seed, stream, index), so that any
// worker can draw its part and a resumed run continues with the very numbers of an unbroken one.
#ifndef SOTTO_CORE_BASE_RANDOM_H_
#define SOTTO_CORE_BASE_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace sotto {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes every bit.
inline uint64_t Mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0)
      : key_(Mix64(Mix64(seed) ^ Mix64(stream * 0xD1342543DE82EF95ull + 1))) {}

  // The value at an index, without moving the position.
  uint64_t At(uint64_t index) const { return Mix64(key_ + index * 0x9E3779B97F4A7C15ull); }

  uint64_t Next() { return At(position_++); }
  // Uniform in [0, 1) with 24 bits, the same on every machine.
  float NextFloat() { return static_cast<float>(Next() >> 40) * 0x1p-24f; }
  // Uniform in [0, n), n > 0 (Lemire's multiply-shift; the bias is below n / 2^64).
  uint64_t NextBelow(uint64_t n) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * n) >> 64);
  }
  // Standard normal (Box-Muller, one of the pair).
  float NextNormal() {
    const double u = (static_cast<double>(Next() >> 11) + 1.0) * 0x1p-53;
    const double v = static_cast<double>(Next() >> 11) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
  }

  uint64_t position() const { return position_; }
  void Seek(uint64_t position) { position_ = position; }

 private:
  uint64_t key_;
  uint64_t position_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_RANDOM_H_
