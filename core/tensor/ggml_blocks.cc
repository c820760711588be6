#include <bit>
#include <cstring>

#include "core/tensor/blocks.h"

// Products and sums are rounded one by one, as in the reference.
#pragma STDC FP_CONTRACT OFF

namespace sotto {
namespace {

using Bytes = const uint8_t*;

uint16_t Load16(Bytes p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

uint32_t Load32(Bytes p) {
  uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

float Half(Bytes p) { return F16ToF32(Load16(p)); }

// The low and the high half of a byte, and the pair of bits at 2 * i.
int Low4(uint8_t byte) { return byte & 15; }
int High4(uint8_t byte) { return byte >> 4; }
int Bits2(uint8_t byte, int i) { return byte >> (2 * i) & 3; }
int Bit(uint32_t bits, int i) { return static_cast<int>(bits >> i & 1); }

// Blocks of 32: a scale d, perhaps a minimum m, then 16 bytes of which byte i holds the values i
// (low half) and i + 16 (high half). Five-bit types have the fifth bits in 32 bits before.

void DecodeQ4_0(Bytes b, float* out) {
  const float d = Half(b);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(Low4(b[2 + i]) - 8) * d;
    out[i + 16] = static_cast<float>(High4(b[2 + i]) - 8) * d;
  }
}

void DecodeQ4_1(Bytes b, float* out) {
  const float d = Half(b), m = Half(b + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(Low4(b[4 + i])) * d + m;
    out[i + 16] = static_cast<float>(High4(b[4 + i])) * d + m;
  }
}

void DecodeQ5_0(Bytes b, float* out) {
  const float d = Half(b);
  const uint32_t high = Load32(b + 2);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((Low4(b[6 + i]) | Bit(high, i) << 4) - 16) * d;
    out[i + 16] = static_cast<float>((High4(b[6 + i]) | Bit(high, i + 16) << 4) - 16) * d;
  }
}

void DecodeQ5_1(Bytes b, float* out) {
  const float d = Half(b), m = Half(b + 2);
  const uint32_t high = Load32(b + 4);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(Low4(b[8 + i]) | Bit(high, i) << 4) * d + m;
    out[i + 16] = static_cast<float>(High4(b[8 + i]) | Bit(high, i + 16) << 4) * d + m;
  }
}

void DecodeQ8_0(Bytes b, float* out) {
  const float d = Half(b);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(b[2 + i])) * d;
}

void DecodeIQ4_NL(Bytes b, float* out) {
  static constexpr int kLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
  const float d = Half(b);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(kLevels[Low4(b[2 + i])]);
    out[i + 16] = d * static_cast<float>(kLevels[High4(b[2 + i])]);
  }
}

// OCP Microscaling: a power of two, then 4-bit floats E2M1. The levels are twice their values, so
// the scale is halved: 2^(e - 128); exponents 0 and 1 give subnormal numbers.
void DecodeMXFP4(Bytes b, float* out) {
  static constexpr int kLevels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const uint32_t e = b[0];
  const float d = std::bit_cast<float>(e < 2 ? 0x00200000u << e : (e - 1) << 23);
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(kLevels[Low4(b[1 + i])]) * d;
    out[i + 16] = static_cast<float>(kLevels[High4(b[1 + i])]) * d;
  }
}

// Blocks of 256 ("K-quants"): groups of 16 or 32 values have small scales of their own, which a
// half-precision d (and dmin for the groups' minima) multiplies.

// Scales of 16 groups in 4 bits beside 4 bits of minima; 64 bytes, of which byte 32 h + l holds, in
// its pair of bits j, the value 128 h + 32 j + l; d, dmin.
void DecodeQ2_K(Bytes b, float* out) {
  const Bytes scales = b, quants = b + 16;
  const float d = Half(b + 80), dmin = Half(b + 82);
  for (int g = 0; g < 16; ++g) {
    const float scale = d * static_cast<float>(Low4(scales[g]));
    const float min = dmin * static_cast<float>(High4(scales[g]));
    const Bytes q = quants + g / 8 * 32 + g % 2 * 16;
    for (int l = 0; l < 16; ++l) {
      out[g * 16 + l] = scale * static_cast<float>(Bits2(q[l], g % 8 / 2)) - min;
    }
  }
}

// 32 bytes of third bits, byte l's bit i for the value 32 i + l (a cleared bit takes 4 away); 64
// bytes as in Q2_K; 16 scales of 6 bits less 32, low halves first; d.
void DecodeQ3_K(Bytes b, float* out) {
  const Bytes high = b, quants = b + 32, scales = b + 96;
  const float d = Half(b + 108);
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? Low4(scales[g]) : High4(scales[g - 8]);
    const int six = low | Bits2(scales[8 + g % 4], g / 4) << 4;
    const float scale = d * static_cast<float>(six - 32);
    const Bytes q = quants + g / 8 * 32 + g % 2 * 16, h = high + g % 2 * 16;
    for (int l = 0; l < 16; ++l) {
      const int value = Bits2(q[l], g % 8 / 2) - (Bit(h[l], g / 2) != 0 ? 0 : 4);
      out[g * 16 + l] = scale * static_cast<float>(value);
    }
  }
}

// The scale and the minimum of group g of 8, six bits each: bytes 0..3 and 4..7 hold those of the
// first four groups, and in their upper two bits the upper bits of the last four, whose lower
// halves are in bytes 8..11.
struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin SixBits(Bytes scales, int g) {
  if (g < 4) return {scales[g] & 63, scales[g + 4] & 63};
  return {Low4(scales[g + 4]) | scales[g - 4] >> 6 << 4,
          High4(scales[g + 4]) | scales[g] >> 6 << 4};
}

// d, dmin, 12 bytes of scales, then 128 bytes, of which byte 32 p + l holds the value l of the
// groups 2 p (low half) and 2 p + 1 (high half). Q5_K has before them 32 bytes of fifth bits: byte
// l's bit g for group g.
void DecodeQ4_KOrQ5_K(Bytes b, Bytes high, Bytes quants, float* out) {
  const float d = Half(b), dmin = Half(b + 2);
  for (int g = 0; g < 8; ++g) {
    const ScaleAndMin six = SixBits(b + 4, g);
    const float scale = d * static_cast<float>(six.scale), min = dmin * static_cast<float>(six.min);
    const Bytes q = quants + g / 2 * 32;
    for (int l = 0; l < 32; ++l) {
      const int four = g % 2 == 0 ? Low4(q[l]) : High4(q[l]);
      const int fifth = high == nullptr ? 0 : Bit(high[l], g) << 4;
      out[g * 32 + l] = scale * static_cast<float>(four | fifth) - min;
    }
  }
}
void DecodeQ4_K(Bytes b, float* out) { DecodeQ4_KOrQ5_K(b, nullptr, b + 16, out); }
void DecodeQ5_K(Bytes b, float* out) { DecodeQ4_KOrQ5_K(b, b + 16, b + 48, out); }

// 128 bytes of low halves: in each 64, byte l holds the values l (low) and 64 + l (high) of 128; 64
// bytes of upper pairs of bits, in each 32 byte l's pair j for the value 32 j + l; 16 signed
// scales; d.
void DecodeQ6_K(Bytes b, float* out) {
  const float d = Half(b + 208);
  const auto* scales = reinterpret_cast<const int8_t*>(b + 192);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, at = i % 128;
    const uint8_t low = b[half * 64 + at % 64];
    const int four = at < 64 ? Low4(low) : High4(low);
    const int six = four | Bits2(b[128 + half * 32 + at % 32], at / 32) << 4;
    const int8_t scale = scales[i / 16];
    out[i] = d * static_cast<float>(scale) * static_cast<float>(six - 32);
  }
}

template <void (*decode)(Bytes, float*)>
void DecodeBlocks(DType dtype, const void* row, int64_t columns, float* out) {
  const BlockLayout block = BlockLayoutOf(dtype);
  Bytes b = static_cast<Bytes>(row);
  for (int64_t i = 0; i < columns; i += block.values, b += block.bytes) decode(b, out + i);
}

}  // namespace

void DecodeGgmlRow(DType dtype, const void* row, int64_t columns, float* out) {
  switch (dtype) {
    case DType::kQ4_0:
      return DecodeBlocks<DecodeQ4_0>(dtype, row, columns, out);
    case DType::kQ4_1:
      return DecodeBlocks<DecodeQ4_1>(dtype, row, columns, out);
    case DType::kQ5_0:
      return DecodeBlocks<DecodeQ5_0>(dtype, row, columns, out);
    case DType::kQ5_1:
      return DecodeBlocks<DecodeQ5_1>(dtype, row, columns, out);
    case DType::kQ8_0:
      return DecodeBlocks<DecodeQ8_0>(dtype, row, columns, out);
    case DType::kQ2_K:
      return DecodeBlocks<DecodeQ2_K>(dtype, row, columns, out);
    case DType::kQ3_K:
      return DecodeBlocks<DecodeQ3_K>(dtype, row, columns, out);
    case DType::kQ4_K:
      return DecodeBlocks<DecodeQ4_K>(dtype, row, columns, out);
    case DType::kQ5_K:
      return DecodeBlocks<DecodeQ5_K>(dtype, row, columns, out);
    case DType::kQ6_K:
      return DecodeBlocks<DecodeQ6_K>(dtype, row, columns, out);
    case DType::kIQ4_NL:
      return DecodeBlocks<DecodeIQ4_NL>(dtype, row, columns, out);
    case DType::kMXFP4:
      return DecodeBlocks<DecodeMXFP4>(dtype, row, columns, out);
    default:
      return;  // no such block
  }
}

}  // namespace sotto
