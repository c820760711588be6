// Loops over rows: softmax, norms, cross-entropy, embedding gather and rotary positions, with their
// gradients.
#ifndef SOTTO_CORE_KERNELS_ROWS_H_
#define SOTTO_CORE_KERNELS_ROWS_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

// y[r, :] = softmax(x[r, :]); y may be x. A row that is all -inf becomes all 0.
void Softmax(const float* x, float* y, int64_t rows, int64_t columns, ThreadPool* pool);
// dx += y * (dy - sum(dy * y)) by row, from the output y.
void SoftmaxBackward(const float* y, const float* dy, float* dx, int64_t rows, int64_t columns,
                     ThreadPool* pool);

// y = (x - mean) * rstd * weight + bias (bias may be null), statistics by row; `mean` and `rstd`
// [rows] are written when not null. (Ba et al. 2016)
void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
               float* mean, float* rstd, int64_t rows, int64_t columns, ThreadPool* pool);
// dx, dweight, dbias accumulate; each may be null. The same result for any number of threads.
void LayerNormBackward(const float* x, const float* weight, const float* mean, const float* rstd,
                       const float* dy, float* dx, float* dweight, float* dbias, int64_t rows,
                       int64_t columns, ThreadPool* pool);

// y = x * rstd * (weight + offset), rstd = 1 / sqrt(mean(x^2) + epsilon). (Zhang & Sennrich 2019)
void RmsNorm(const float* x, const float* weight, float epsilon, float* y, float* rstd,
             int64_t rows, int64_t columns, ThreadPool* pool, float offset = 0);
void RmsNormBackward(const float* x, const float* weight, const float* rstd, const float* dy,
                     float* dx, float* dweight, int64_t rows, int64_t columns, ThreadPool* pool,
                     float offset = 0);

// Mean negative log-likelihood with label smoothing s over rows whose target is not `ignore`:
//   loss_r = (1 - s) (lse_r - x[r, t_r]) + s (lse_r - mean_c x[r, c]).
// Returns the sum of losses (double; same for any number of threads) and *counted. Where `dx` is
// not null it receives factor * d(loss_r)/dx (assigned, zero rows for ignored targets); dx may be
// x. (Szegedy et al. 2016)
double CrossEntropy(const float* x, const int32_t* targets, int32_t ignore, float smoothing,
                    float factor, float* dx, int64_t rows, int64_t columns, int64_t* counted,
                    ThreadPool* pool);

// y[r, :] = table[ids[r], :]; ids were checked.
void Gather(const float* table, const int32_t* ids, float* y, int64_t rows, int64_t columns,
            ThreadPool* pool);
// dtable[ids[r], :] += dy[r, :]; the same result for any number of threads.
void ScatterAdd(const int32_t* ids, const float* dy, float* dtable, int64_t rows, int64_t columns,
                ThreadPool* pool);

// Rotary position embedding of x [tokens, heads, dim] over the first `rotary` of dim columns (Su et
// al. 2021), the halves layout of Hugging Face ("rotate_half"): pair (i, i + rotary/2) turns by the
// angle whose cosine and sine are cos[t, i], sin[t, i] (tables [tokens, rotary/2]). `inverse` turns
// back: that is also the gradient. y may be x.
void Rotary(const float* x, const float* cos, const float* sin, bool inverse, float* y,
            int64_t tokens, int64_t heads, int64_t dim, int64_t rotary, ThreadPool* pool);

// One step of AdamW (Loshchilov & Hutter 2019), in place: m = b1 m + (1-b1) g, v = b2 v + (1-b2)
// g^2, w -= lr (m / c1 / (sqrt(v / c2) + eps) + decay w), where g = clip * grad, c1 = 1 - b1^step,
// c2 = 1 - b2^step.
struct AdamWArgs {
  float lr, beta1, beta2, epsilon, decay, clip, c1, c2;
};
void AdamW(const AdamWArgs& args, const float* grad, float* m, float* v, float* w, int64_t count,
           ThreadPool* pool);

namespace scalar {
void Softmax(const float* x, float* y, int64_t rows, int64_t columns);
void LayerNorm(const float* x, const float* weight, const float* bias, float epsilon, float* y,
               int64_t rows, int64_t columns);
void RmsNorm(const float* x, const float* weight, float epsilon, float* y, int64_t rows,
             int64_t columns, float offset = 0);
double CrossEntropy(const float* x, const int32_t* targets, int32_t ignore, float smoothing,
                    float factor, float* dx, int64_t rows, int64_t columns, int64_t* counted);
void Rotary(const float* x, const float* cos, const float* sin, bool inverse, float* y,
            int64_t tokens, int64_t heads, int64_t dim, int64_t rotary);
void AdamW(const AdamWArgs& args, const float* grad, float* m, float* v, float* w, int64_t count);
}  // namespace scalar

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_ROWS_H_
