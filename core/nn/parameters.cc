#include "core/nn/parameters.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sotto {
namespace {

// FNV-1a: gives each parameter a random stream of its own.
uint64_t HashName(std::string_view name) {
  uint64_t hash = 0xCBF29CE484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  return hash;
}

}  // namespace

void ParameterList::Add(std::string name, Tensor& tensor, Shape shape, Parameter::Kind kind,
                        bool transposed) {
  all_.push_back({std::move(name), shape, kind, transposed, 0, &tensor, false, {}, {}});
}

void ParameterList::Matrix(std::string name, Tensor& tensor, int64_t out, int64_t in) {
  Add(std::move(name), tensor, {out, in}, Parameter::Kind::kMatrix, false);
}
void ParameterList::TransposedMatrix(std::string name, Tensor& tensor, int64_t out, int64_t in) {
  Add(std::move(name), tensor, {out, in}, Parameter::Kind::kMatrix, true);
}
void ParameterList::Convolution(std::string name, Tensor& tensor, int64_t out, int64_t in,
                                int64_t taps) {
  Add(std::move(name), tensor, {out, in * taps}, Parameter::Kind::kMatrix, false);
  all_.back().taps = taps;
}
void ParameterList::Embedding(std::string name, Tensor& tensor, int64_t entries, int64_t columns) {
  Add(std::move(name), tensor, {entries, columns}, Parameter::Kind::kEmbedding, false);
}
void ParameterList::Bias(std::string name, Tensor& tensor, int64_t size) {
  Add(std::move(name), tensor, {size}, Parameter::Kind::kBias, false);
}
void ParameterList::Norm(std::string name, Tensor& tensor, int64_t size) {
  Add(std::move(name), tensor, {size}, Parameter::Kind::kNorm, false);
}
void ParameterList::Constant(std::string name, Tensor& tensor, Tensor value) {
  Add(std::move(name), tensor, value.shape(), Parameter::Kind::kConstant, false);
  tensor = std::move(value);
}

void ParameterList::Other(std::string name, Tensor& tensor, Shape shape) {
  Add(std::move(name), tensor, shape, Parameter::Kind::kBias, false);
}

void ParameterList::MayLack(size_t count) {
  for (size_t i = all_.size() - count; i < all_.size(); ++i) all_[i].optional = true;
}

void ParameterList::ForgetLacking() {
  std::erase_if(all_, [](const Parameter& p) { return p.optional && !*p.tensor; });
}

const Parameter* ParameterList::Find(std::string_view name) const {
  const auto found =
      std::find_if(all_.begin(), all_.end(), [&](const Parameter& p) { return p.name == name; });
  return found == all_.end() ? nullptr : &*found;
}

int64_t ParameterList::elements() const {
  int64_t sum = 0;
  for (const Parameter& p : all_) sum += p.shape.elements();
  return sum;
}

Status ParameterList::Initialize(uint64_t seed, float std) {
  for (const Parameter& p : all_) {
    if (p.kind == Parameter::Kind::kConstant) continue;
    SOTTO_ASSIGN_OR_RETURN(*p.tensor, Tensor::Zeros(p.shape));
    if (p.fresh) {
      Random random(seed, HashName(p.name));
      for (int64_t i = 0; i < p.shape.elements(); ++i) p.tensor->f32()[i] = p.fresh(i, random);
    } else if (p.kind == Parameter::Kind::kNorm) {
      std::fill_n(p.tensor->f32(), p.shape.elements(), 1.0f);
    } else if (p.decays()) {
      Random random(seed, HashName(p.name));
      for (float& value : p.tensor->floats()) value = std * random.NextNormal();
    }
  }
  return OkStatus();
}

void ParameterList::RequireGrad(bool wanted) {
  for (const Parameter& p : all_) {
    const bool trained = p.kind != Parameter::Kind::kConstant;
    p.tensor->set_grad_slot(wanted && trained ? std::make_shared<GradSlot>() : nullptr);
  }
}

Result<Tensor> Transposed(const Tensor& matrix) {
  if (matrix.rank() != 2 || matrix.dtype() != DType::kF32)
    return InvalidArgument("only f32 matrices are transposed");
  const int64_t rows = matrix.dim(0), columns = matrix.dim(1);
  SOTTO_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate({columns, rows}));
  constexpr int64_t kBlock = 16;  // a block's rows and columns stay in the first-level cache
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock) {
    for (int64_t c0 = 0; c0 < columns; c0 += kBlock) {
      for (int64_t r = r0; r < std::min(r0 + kBlock, rows); ++r) {
        for (int64_t c = c0; c < std::min(c0 + kBlock, columns); ++c) {
          out.f32()[c * rows + r] = matrix.f32()[r * columns + c];
        }
      }
    }
  }
  return out;
}

}  // namespace sotto
