// How fast the kernels are: one line of JSON a shape, the best of many runs.
//   kernels_bench [threads] [milliseconds a shape] [f32|q8|q4 M K N]
// With the last words, one product alone is measured: X [M, K] by W [N, K] transposed, as a linear
// layer's. "gop_s" counts two operations a multiply-add; "gb_s" the bytes of the weights (B) alone.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/random.h"
#include "core/kernels/attention.h"
#include "core/kernels/matmul.h"
#include "core/kernels/pointwise.h"
#include "core/kernels/rows.h"
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
constexpr ProductShape kPacked[] = {
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

void BenchPacked(const ProductShape& s, DType dtype, ThreadPool& pool, double budget) {
  const std::vector<float> x = Uniform(s.m * s.k, 1), w = Uniform(s.n * s.k, 2);
  std::vector<float> y(static_cast<size_t>(s.m * s.n));
  Result<Tensor> matrix = Tensor::FromFloats({s.n, s.k}, w);
  if (!matrix.ok()) return;
  const bool q8 = dtype == DType::kQ8;
  const Result<Tensor> packed = q8 ? PackQ8(*matrix) : PackQ4(*matrix);
  if (!packed.ok()) return;
  const auto multiply = q8 ? MatMulQ8 : MatMulQ4;
  const double best = BestOf(
      budget, [&] { multiply(x.data(), s.m, s.k, packed->data(), s.n, nullptr, y.data(), &pool); });
  Print(q8 ? "matmul_q8" : "matmul_q4", s, pool.threads(), best,
        static_cast<double>(packed->bytes()));
}

// Passes over elements: nanoseconds each.
template <class Body>
void BenchPass(const char* kernel, int64_t elements, ThreadPool& pool, double budget,
               const Body& body) {
  const double best = BestOf(budget, body);
  std::printf(
      "{\"kernel\":\"%s\",\"target\":\"%s\",\"threads\":%d,\"elements\":%d,\"ms\":%.4f,"
      "\"ns_each\":%.3f}\n",
      kernel, KernelTarget(), pool.threads(), static_cast<int>(elements), best * 1e3,
      best * 1e9 / static_cast<double>(elements));
  std::fflush(stdout);
}

void BenchPasses(ThreadPool& pool, double budget) {
  constexpr int64_t kRows = 256, kColumns = 512, kCount = kRows * kColumns;
  const std::vector<float> x = Uniform(kCount, 1), row = Uniform(kColumns, 2);
  std::vector<float> y(static_cast<size_t>(kCount));
  for (const auto& [name, f] : {std::pair<const char*, Activation>{"gelu", Activation::kGelu},
                                {"gelu_tanh", Activation::kGeluTanh},
                                {"silu", Activation::kSilu}}) {
    BenchPass(name, kCount, pool, budget,
              [&, f = f] { Activate(f, x.data(), y.data(), kCount, &pool); });
  }
  BenchPass("softmax", kCount, pool, budget,
            [&] { Softmax(x.data(), y.data(), kRows, kColumns, &pool); });
  BenchPass("layer_norm", kCount, pool, budget, [&] {
    LayerNorm(x.data(), row.data(), row.data(), 1e-5f, y.data(), nullptr, nullptr, kRows, kColumns,
              &pool);
  });
}

// Attention of 12 heads; "gop_s" counts both products.
void BenchAttention(int64_t queries, int64_t keys, int64_t dim, ThreadPool& pool, double budget) {
  constexpr int64_t kHeads = 12;
  std::vector<float> q = Uniform(queries * kHeads * dim, 1), k = Uniform(keys * kHeads * dim, 2),
                     v = Uniform(keys * kHeads * dim, 3), out(q.size());
  AttentionArgs args;
  args.batch = 1;
  args.heads = args.kv_heads = kHeads;
  args.queries = queries;
  args.keys = keys;
  args.dim = dim;
  const auto view = [&](std::vector<float>& data) {
    return HeadsView{data.data(), static_cast<int64_t>(data.size()), kHeads * dim, dim};
  };
  args.q = view(q);
  args.k = view(k);
  args.v = view(v);
  args.out = view(out);
  args.scale = 0.125f;
  const double best = BestOf(budget, [&] { Attention(args, &pool); });
  std::printf(
      "{\"kernel\":\"attention\",\"target\":\"%s\",\"threads\":%d,\"queries\":%d,\"keys\":%d,"
      "\"dim\":%d,\"ms\":%.4f,\"gop_s\":%.1f}\n",
      KernelTarget(), pool.threads(), static_cast<int>(queries), static_cast<int>(keys),
      static_cast<int>(dim), best * 1e3,
      4.0 * static_cast<double>(kHeads * queries * keys * dim) / best * 1e-9);
  std::fflush(stdout);
}

}  // namespace
}  // namespace sotto

int main(int argc, char** argv) {
  sotto::ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 1);
  const double budget = (argc > 2 ? std::atof(argv[2]) : 300) * 1e-3;
  if (argc > 6) {
    const std::string_view format = argv[3];
    const sotto::ProductShape shape = {
        "asked", false, true, std::atoi(argv[4]), std::atoi(argv[6]), std::atoi(argv[5])};
    if (format == "f32") {
      sotto::BenchGemm(shape, pool, budget);
    } else {
      sotto::BenchPacked(shape, format == "q8" ? sotto::DType::kQ8 : sotto::DType::kQ4, pool,
                         budget);
    }
    return 0;
  }
  for (const sotto::ProductShape& shape : sotto::kF32) sotto::BenchGemm(shape, pool, budget);
  for (const sotto::DType dtype : {sotto::DType::kQ8, sotto::DType::kQ4}) {
    for (const sotto::ProductShape& s : sotto::kPacked) sotto::BenchPacked(s, dtype, pool, budget);
  }
  sotto::BenchPasses(pool, budget);
  for (const int64_t dim : {32, 64}) {
    for (const auto& [queries, keys] :
         {std::pair<int64_t, int64_t>{128, 128}, {512, 512}, {1, 128}, {1, 1000}}) {
      sotto::BenchAttention(queries, keys, dim, pool, budget);
    }
  }
}
