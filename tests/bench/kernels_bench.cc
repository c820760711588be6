// How fast the matrix products are: one line of JSON a shape, the best of many runs.
//   kernels_bench [threads] [milliseconds a shape]
// "gop_s" counts two operations a multiply-add; "gb_s" the bytes of the weights (B) alone.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/base/random.h"
#include "core/kernels/matmul.h"
#include "core/tensor/quant.h"

namespace sotto {
namespace {

struct ProductShape {
  const char* name;
  bool trans_a, trans_b;
  int64_t m, n, k;
};

constexpr ProductShape kF32[] = {
    {"forward", false, true, 4096, 192, 192},  {"forward", false, true, 4096, 768, 192},
    {"forward", false, true, 4096, 192, 768},  {"forward", false, true, 2048, 1024, 1024},
    {"d_input", false, false, 4096, 192, 768}, {"d_input", false, false, 4096, 768, 192},
    {"d_weight", true, false, 192, 192, 4096}, {"d_weight", true, false, 768, 192, 4096},
    {"d_weight", true, false, 192, 768, 4096}, {"d_weight", true, false, 1024, 1024, 2048},
    {"prompt", false, true, 64, 768, 768},     {"logits", false, true, 128, 8000, 192},
    {"decode", false, true, 1, 4096, 1024},    {"decode", false, true, 4, 4096, 1024},
    {"decode", false, false, 1, 4096, 1024},
};
constexpr ProductShape kQ8[] = {
    {"prompt", false, true, 120, 3072, 768},  {"prompt", false, true, 120, 768, 3072},
    {"prompt", false, true, 512, 1024, 1024}, {"short", false, true, 8, 3072, 768},
    {"decode", false, true, 1, 768, 768},     {"decode", false, true, 1, 3072, 768},
    {"decode", false, true, 1, 32768, 2048},  {"decode", false, true, 4, 3072, 768},
};

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<float> Uniform(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& x : out) x = random.NextFloat() - 0.5f;
  return out;
}

template <class Body>
double BestOf(double budget, const Body& body) {
  double best = 1e9;
  const double start = Seconds();
  for (int i = 0; i < 5 || (Seconds() - start < budget && i < 10000); ++i) {
    const double before = Seconds();
    body();
    const double took = Seconds() - before;
    if (took < best) best = took;
  }
  return best;
}

void Print(const char* kernel, const ProductShape& s, int threads, double seconds,
           double weight_bytes) {
  const double operations =
      2.0 * static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  std::printf(
      "{\"kernel\":\"%s\",\"target\":\"%s\",\"threads\":%d,\"shape\":\"%s\",\"trans\":\"%c%c\","
      "\"m\":%d,"
      "\"n\":%d,\"k\":%d,\"ms\":%.4f,\"gop_s\":%.1f,\"gb_s\":%.1f}\n",
      kernel, KernelTarget(), threads, s.name, s.trans_a ? 'T' : 'N', s.trans_b ? 'T' : 'N',
      static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), seconds * 1e3,
      operations / seconds * 1e-9, weight_bytes / seconds * 1e-9);
  std::fflush(stdout);
}

void BenchGemm(const ProductShape& s, ThreadPool& pool, double budget) {
  const std::vector<float> a = Uniform(s.m * s.k, 1), b = Uniform(s.n * s.k, 2);
  std::vector<float> c(static_cast<size_t>(s.m * s.n));
  GemmArgs args;
  args.trans_a = s.trans_a;
  args.trans_b = s.trans_b;
  args.m = s.m;
  args.n = s.n;
  args.k = s.k;
  args.a = a.data();
  args.lda = s.trans_a ? s.m : s.k;
  args.b = b.data();
  args.ldb = s.trans_b ? s.k : s.n;
  args.c = c.data();
  args.ldc = s.n;
  const double best = BestOf(budget, [&] { Gemm(args, &pool); });
  Print("gemm_f32", s, pool.threads(), best,
        4.0 * static_cast<double>(s.n) * static_cast<double>(s.k));
}

void BenchQ8(const ProductShape& s, ThreadPool& pool, double budget) {
  const std::vector<float> x = Uniform(s.m * s.k, 1), w = Uniform(s.n * s.k, 2);
  std::vector<float> y(static_cast<size_t>(s.m * s.n));
  Result<Tensor> matrix = Tensor::FromFloats({s.n, s.k}, w);
  if (!matrix.ok()) return;
  const Result<Tensor> packed = PackQ8(*matrix);
  if (!packed.ok()) return;
  const double best = BestOf(
      budget, [&] { MatMulQ8(x.data(), s.m, s.k, packed->data(), s.n, nullptr, y.data(), &pool); });
  Print("matmul_q8", s, pool.threads(), best, static_cast<double>(s.n) * static_cast<double>(s.k));
}

}  // namespace
}  // namespace sotto

int main(int argc, char** argv) {
  sotto::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 1);
  const double budget = (argc > 2 ? std::atof(argv[2]) : 300) * 1e-3;
  for (const sotto::ProductShape& shape : sotto::kF32) sotto::BenchGemm(shape, pool, budget);
  for (const sotto::ProductShape& shape : sotto::kQ8) sotto::BenchQ8(shape, pool, budget);
}
