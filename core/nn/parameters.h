// The table of a model's weights: each is declared once, with its name in the checkpoint, its shape
// and its kind, and from that table they are loaded, initialized, listed, trained and saved.
#ifndef SOTTO_CORE_NN_PARAMETERS_H_
#define SOTTO_CORE_NN_PARAMETERS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/random.h"
#include "core/base/status.h"
#include "core/tensor/tensor.h"

namespace sotto {

struct Parameter {
  enum class Kind : uint8_t {
    kMatrix,     // [out, in]: initialized normal, decays, may be packed
    kEmbedding,  // [entries, columns]: the same
    kBias,       // initialized to 0; no decay
    kNorm,       // initialized to 1; no decay
    kConstant,   // not trained: has its value from the beginning, which a checkpoint may replace
  };
  std::string name;
  Shape shape;
  Kind kind = Kind::kMatrix;
  bool stored_transposed = false;  // the file holds [in, out] (GPT-2's Conv1D)
  int64_t taps = 0;                // > 0: the file holds [out, in / taps, taps], a convolution
  Tensor* tensor = nullptr;        // where the model keeps it
  bool optional = false;           // stays empty where a checkpoint lacks it
  std::string other_name;          // that checkpoints may have in place of `name`; empty: none
  // The values of a fresh one, element after element; empty: as its kind says.
  std::function<float(int64_t element, Random&)> fresh;

  bool decays() const { return kind == Kind::kMatrix || kind == Kind::kEmbedding; }
  Shape stored_shape() const {
    if (taps > 0) return {shape.dim(0), shape.dim(1) / taps, taps};
    return stored_transposed ? Shape({shape.dim(1), shape.dim(0)}) : shape;
  }
};

class ParameterList {
 public:
  void Matrix(std::string name, Tensor& tensor, int64_t out, int64_t in);
  void TransposedMatrix(std::string name, Tensor& tensor, int64_t out, int64_t in);
  // The weight of a convolution over tokens, to multiply what Unfold gives: [out, in * taps].
  void Convolution(std::string name, Tensor& tensor, int64_t out, int64_t in, int64_t taps);
  void Embedding(std::string name, Tensor& tensor, int64_t entries, int64_t columns);
  void Bias(std::string name, Tensor& tensor, int64_t size);
  void Norm(std::string name, Tensor& tensor, int64_t size);
  // A tensor that nothing is multiplied by as by a matrix: neither packed nor decayed.
  void Other(std::string name, Tensor& tensor, Shape shape);
  // How the parameter that was declared last begins, where its kind does not say it well.
  void BeginsAs(std::function<float(int64_t element, Random&)> fresh) {
    all_.back().fresh = std::move(fresh);
  }
  void BeginsAsNormal(float deviation) {
    BeginsAs([deviation](int64_t, Random& random) { return deviation * random.NextNormal(); });
  }
  // What is not trained, and need not be in the checkpoint: has `value` until that replaces it.
  void Constant(std::string name, Tensor& tensor, Tensor value);

  // Of the `count` parameters that were declared last.
  void MayLack(size_t count);
  // Forgets those that may lack and do: the checkpoint is read.
  void ForgetLacking();
  // Of the parameter that was declared last.
  void MayBeCalled(std::string other_name) { all_.back().other_name = std::move(other_name); }

  void AddLike(const Parameter& parameter) { all_.push_back(parameter); }

  const std::vector<Parameter>& all() const { return all_; }
  const Parameter* Find(std::string_view name) const;
  int64_t elements() const;

  // Fresh weights: normal(0, std), zeros, ones; the same for a seed whatever the order of creation.
  Status Initialize(uint64_t seed, float std);
  // Gives every parameter that is trained a gradient slot, or takes them away.
  void RequireGrad(bool wanted);

 private:
  void Add(std::string name, Tensor& tensor, Shape shape, Parameter::Kind kind, bool transposed);
  std::vector<Parameter> all_;
};

// [a, b] -> [b, a], f32.
Result<Tensor> Transposed(const Tensor& matrix);

}  // namespace sotto

#endif  // SOTTO_CORE_NN_PARAMETERS_H_
