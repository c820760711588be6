// The layouts of matrices packed for the 8-bit and the 4-bit product. They are defined here once;
// kernels read them.
//
// 8 bits. A weight matrix W [N, K] (out, in) is rounded per row (output channel) to seven bits,
//   q[n, k] = round(W[n, k] / scale[n]) in -63..63,   scale[n] = max_k |W[n, k]| / 63,
// and stored with an offset of 64, so that bytes lie in 1..127: the unsigned 7-bit operand of
// i32x4.relaxed_dot_i8x16_i7x16_add, exact on every machine. With activations a[k] int8,
//   sum_k a[k] q[n, k] = sum_k a[k] byte[n, k] - 64 * sum_k a[k].
//
// Bytes are in panels of 8 rows: panel p holds rows 8p..8p+7; within it, for each group of 4 along
// K, 32 bytes: row 8p's 4 values, row 8p+1's, ... The tail of K and of N is padded with the byte 64
// (the value 0). After the panels come the N' = 8 * ceil(N / 8) scales as f32; a padded row's is 0.
//
// 4 bits. Each row is rounded in groups of 32 along K,
//   q[n, k] = round(W[n, k] / scale[n, k / 32]) in -8..7,   scale near (the largest) / -8
// with the sign of the value that is largest in magnitude: what leaves the least squared error;
// rounded to bf16. Stored with an offset of 8, two to a byte. Panels are of 8 rows here too: for
// each group of 32 along K come 144 bytes, namely for each 8 of K 32 bytes (row 8p's 4, row 8p+1's
// 4, ...; the low nibbles are the first 4 of K, the high ones the last), and then the 8 rows'
// scales. The tails of K and N are padded with the value 0, and a padded row's scales are 0.
#ifndef SOTTO_CORE_TENSOR_QUANT_H_
#define SOTTO_CORE_TENSOR_QUANT_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "core/tensor/tensor.h"

namespace sotto {

inline constexpr int64_t kQ8PanelRows = 8;
inline constexpr int64_t kQ8Group = 4;  // values of one row that lie together
inline constexpr int kQ8Offset = 64;
inline constexpr int kQ8Max = 63;

struct Q8Layout {
  int64_t n, k;                // logical rows and columns
  int64_t n_padded, k_padded;  // multiples of 8 and of 4
  static Q8Layout For(int64_t n, int64_t k) { return {n, k, (n + 7) / 8 * 8, (k + 3) / 4 * 4}; }
  int64_t panel_bytes() const { return kQ8PanelRows * k_padded; }
  // Where value (row, col) is.
  int64_t Offset(int64_t row, int64_t col) const {
    return row / 8 * panel_bytes() + col / 4 * 32 + row % 8 * 4 + col % 4;
  }
  int64_t scales_offset() const { return n_padded * k_padded; }
  int64_t bytes() const { return scales_offset() + n_padded * 4; }
};

// A row-major matrix of round(W / scale) with one scale a row, as `sotto quantize` stores it:
// `values` is kI8 [N, K] in -63..63, `scales` kF32 [N].
struct Q8Rows {
  Tensor values;
  Tensor scales;
};

// Packs a matrix of which the rows come one by one, in any order.
class Q8Packer {
 public:
  static Result<Q8Packer> Create(int64_t n, int64_t k);
  // Rounds k values, with their scale.
  void SetRow(int64_t row, const float* values);
  // k values that are rounded already, of which those outside -63..63 are an error; the scale comes
  // by SetScale.
  Status SetRounded(int64_t row, const int8_t* values);
  void SetScale(int64_t row, float scale);
  // Rows that were not set are zeros.
  const Tensor& packed() const { return packed_; }

 private:
  explicit Q8Packer(Tensor packed) : packed_(std::move(packed)) {}
  Tensor packed_;
};

Result<Q8Rows> QuantizeRows(const Tensor& f32_matrix);
// Packs stored rows into the layout above; values outside -63..63 are an error.
Result<Tensor> PackQ8(const Q8Rows& rows);
// f32 [N, K] to the packed 8-bit layout directly.
Result<Tensor> PackQ8(const Tensor& f32_matrix);

inline constexpr int64_t kQ4Group = 32;  // values of one row under one scale
inline constexpr int64_t kQ4GroupBytes = 144;
inline constexpr int kQ4Offset = 8;

struct Q4Layout {
  int64_t n, k;                // logical rows and columns
  int64_t n_padded, k_padded;  // multiples of 8 and of 32
  static Q4Layout For(int64_t n, int64_t k) { return {n, k, (n + 7) / 8 * 8, (k + 31) / 32 * 32}; }
  int64_t groups() const { return k_padded / kQ4Group; }
  int64_t panel_bytes() const { return groups() * kQ4GroupBytes; }
  // The byte of value (row, col), which is in its high half where High(col).
  int64_t Offset(int64_t row, int64_t col) const {
    return row / 8 * panel_bytes() + col / 32 * kQ4GroupBytes + col % 32 / 8 * 32 + row % 8 * 4 +
           col % 4;
  }
  static bool High(int64_t col) { return col % 8 >= 4; }
  // Of the scale of a group, two bytes.
  int64_t ScaleOffset(int64_t row, int64_t group) const {
    return row / 8 * panel_bytes() + group * kQ4GroupBytes + 128 + row % 8 * 2;
  }
  int64_t bytes() const { return n_padded / 8 * panel_bytes(); }
};

// A row-major matrix rounded to 4 bits, as `sotto quantize` stores it: `values` is kU8
// [N, K / 2], of which byte c holds column 2c in its low half and 2c + 1 in the high one, each plus
// 8; `scales` is kBF16 [N, K / 32]. K is a multiple of 32.
struct Q4Rows {
  Tensor values;
  Tensor scales;
};

class Q4Packer {
 public:
  static Result<Q4Packer> Create(int64_t n, int64_t k);
  // Rounds k values, with their scales.
  void SetRow(int64_t row, const float* values);
  // A row of Q4Rows.
  void SetRounded(int64_t row, const uint8_t* values);
  void SetScales(int64_t row, std::string_view bf16);  // of its groups
  // Rows that were not set are zeros.
  const Tensor& packed() const { return packed_; }

 private:
  explicit Q4Packer(Tensor packed) : packed_(std::move(packed)) {}
  Tensor packed_;
};

Result<Q4Rows> QuantizeRowsQ4(const Tensor& f32_matrix);
Result<Tensor> PackQ4(const Tensor& f32_matrix);

// One row of a packed matrix, of 8 or of 4 bits, as f32: out[k] for k in 0..K-1.
void UnpackRow(const Tensor& packed, int64_t row, float* out);

}  // namespace sotto

#endif  // SOTTO_CORE_TENSOR_QUANT_H_
