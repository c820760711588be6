// Loops over elements: activations, sums, dropout, and their gradients. Arrays may alias only where
// an argument is said to be updated in place.
#ifndef SOTTO_CORE_KERNELS_POINTWISE_H_
#define SOTTO_CORE_KERNELS_POINTWISE_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

enum class Activation : uint8_t {
  kGelu,      // x Phi(x), exact through erf
  kGeluTanh,  // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))  ("gelu_new")
  kRelu,
  kSilu,
  kTanh,
  kSigmoid,
  kSoftplus,  // log(1 + e^x)
};

// y[i] = f(x[i]); y may be x. Relative error below 1e-6 (absolute below 1e-7 near zero,
// of GELU and its approximation below 8e-7).
void Activate(Activation f, const float* x, float* y, int64_t count, ThreadPool* pool);
// dx[i] += dy[i] f'(x[i]), from the input x.
void ActivateBackward(Activation f, const float* x, const float* dy, float* dx, int64_t count,
                      ThreadPool* pool);

void Add(const float* a, const float* b, float* y, int64_t count,
         ThreadPool* pool);  // y may be a or b
void Mul(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool);
void Scale(const float* x, float factor, float* y, int64_t count, ThreadPool* pool);
// y += factor x
void Axpy(const float* x, float factor, float* y, int64_t count, ThreadPool* pool);
// y += a b
void MulAdd(const float* a, const float* b, float* y, int64_t count, ThreadPool* pool);
// y[r, c] = x[r, c] + row[c]
void AddRow(const float* x, const float* row, float* y, int64_t rows, int64_t columns,
            ThreadPool* pool);
// sum[c] += sum_r x[r, c]; the same result for any number of threads.
void SumRows(const float* x, float* sum, int64_t rows, int64_t columns, ThreadPool* pool);
// The sum of squares in double, the same for any number of threads.
double SumSquares(const float* x, int64_t count, ThreadPool* pool);

// Inverted dropout: y[i] = keep_i ? x[i] / (1 - p) : 0, where keep_i is a pure function of (seed,
// i), (Mix64(seed + i * 0x9E3779B97F4A7C15) >> 40) * 2^-24 >= p with core/base/random.h's Mix64, so
// that the backward pass needs no stored mask.
void Dropout(const float* x, float p, uint64_t seed, float* y, int64_t count, ThreadPool* pool);
// dx[i] += keep_i ? dy[i] / (1 - p) : 0
void DropoutBackward(const float* dy, float p, uint64_t seed, float* dx, int64_t count,
                     ThreadPool* pool);

namespace scalar {
float Activate(Activation f, float x);            // in double inside
float ActivateDerivative(Activation f, float x);  // in double inside
void SumRows(const float* x, float* sum, int64_t rows, int64_t columns);
void Dropout(const float* x, float p, uint64_t seed, float* y, int64_t count);
}  // namespace scalar

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_POINTWISE_H_
