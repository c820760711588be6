// Brings a stored tensor to where the model keeps it, in the layout that it keeps: row by row, in
// pieces of any size, so that neither the file nor a copy in f32 need be in memory. It undoes what
// the file's format did to the tensor (see StoredForm).
#ifndef SOTTO_CORE_MODELS_PARAMETER_SINK_H_
#define SOTTO_CORE_MODELS_PARAMETER_SINK_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/io/safetensors.h"
#include "core/models/model.h"
#include "core/tensor/quant.h"

namespace sotto {

// Whether a matrix is worth packing to 8 or 4 bits.
bool MayPack(const Parameter& parameter);
// And whether to 4 where those are wanted. A table of embeddings keeps 8: it often is the output
// layer too, and costs more there than all other matrices (tests/bench/README.md has the numbers).
bool MayPackTo4(const Parameter& parameter);

class ParameterSink {
 public:
  // A tensor of another shape or of no floating type is an error.
  static Result<ParameterSink> Create(const Parameter& parameter, const TensorInfo& stored,
                                      const LoadOptions& options);

  // The stored tensor as rows.
  int64_t rows() const { return rows_; }
  int64_t row_bytes() const { return row_bytes_; }
  // The next `count` rows.
  Status Add(const char* bytes, int64_t count);

  // Whether the values are rounded ones, of which the scales are a tensor beside, and which: F32
  // [rows()] or BF16 [rows(), groups]. They may come before, after or between the values.
  bool wants_scales() const { return rounded_ != 0; }
  DType scales_dtype() const { return rounded_ == 8 ? DType::kF32 : DType::kBF16; }
  Shape scales_shape() const {
    return rounded_ == 8 ? Shape({rows_}) : Shape({rows_, columns_ / kQ4Group});
  }
  int64_t scales_row_bytes() const { return rounded_ == 8 ? 4 : columns_ / kQ4Group * 2; }
  // The next rows of them.
  void AddScales(std::string_view rows);

  // Whether all is there, and then the parameter.
  bool whole() const { return next_ == rows_ && (!wants_scales() || next_scales_ == rows_); }
  Result<Tensor> Finish();

 private:
  explicit ParameterSink(const Parameter& p) : shape_(p.shape) {}
  void Place(int64_t row, const float* values);
  float Scale(int64_t row, int64_t column) const;

  Shape shape_;  // of the parameter
  DType dtype_ = DType::kF32;
  StoredForm form_;
  int64_t rows_ = 0, columns_ = 0, row_bytes_ = 0, next_ = 0, next_scales_ = 0;
  bool transposes_ = false;
  int rounded_ = 0;             // 8 or 4 where stored values are rounded to so many bits
  DType packed_ = DType::kF32;  // kQ8 or kQ4 where the parameter is to be packed
  std::vector<float> row_;
  Tensor plain_;                   // f32, of the parameter's shape
  std::optional<Q8Packer> eight_;  // in its place
  std::optional<Q4Packer> four_;
  std::vector<char> scales_;  // where no packer takes them
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_PARAMETER_SINK_H_
