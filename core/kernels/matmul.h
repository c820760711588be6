// Matrix products. Shapes were checked by the caller (ops); nothing here allocates tensors, but a
// product may take packing scratch of its own, bounded and per thread.
#ifndef SOTTO_CORE_KERNELS_MATMUL_H_
#define SOTTO_CORE_KERNELS_MATMUL_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

// C = op(A) op(B) + beta C (+ bias), all f32 and row-major, op(A) [m, k], op(B) [k, n], C [m, n].
// `lda`, `ldb`, `ldc` are row strides of the matrices as stored, in elements; with trans_a A is
// stored [k, m]; with trans_b B is stored [n, k]. beta is 0 (C is not read) or 1. bias [n] or null.
struct GemmArgs {
  bool trans_a = false, trans_b = false;
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  const float* b = nullptr;
  int64_t ldb = 0;
  float* c = nullptr;
  int64_t ldc = 0;
  float beta = 0;
  const float* bias = nullptr;
};
void Gemm(const GemmArgs& args, ThreadPool* pool);

// y = x W^T (+ bias): x [m, k] f32 with row stride k, `packed` an 8-bit matrix [n, k] in the layout
// of tensor/quant.h, y [m, n]. Rows of x are rounded to int8 with one scale each, scale = max |x| /
// 127; sums are exact in int32, so that results agree on every machine and in every variant.
void MatMulQ8(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y, ThreadPool* pool);

// The same with a matrix in the 4-bit layout. Sums over each group of 32 are exact in int32; the
// groups are added as floats in their order, so that here too results agree everywhere.
void MatMulQ4(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y, ThreadPool* pool);

// The activations' half of MatMulQ8, exposed for its test: q[k] int8, *scale, and *sum = sum of q.
void QuantizeRow(const float* x, int64_t k, int8_t* q, float* scale, int32_t* sum);

// The name of the SIMD target in use: "AVX3", "AVX2", "WASM relaxed", ...
const char* KernelTarget();

namespace scalar {  // the plain twins that tests compare with
void Gemm(const GemmArgs& args);
void MatMulQ8(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y);
void MatMulQ4(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y);
void QuantizeRow(const float* x, int64_t k, int8_t* q, float* scale, int32_t* sum);
}  // namespace scalar

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_MATMUL_H_
