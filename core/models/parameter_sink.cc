#include "core/models/parameter_sink.h"

#include <algorithm>
#include <utility>

#include "core/tensor/blocks.h"

namespace sotto {
namespace {

// Matrices smaller than this either way stay f32: they weigh nothing, and heads want the precision.
constexpr int64_t kMinPackedExtent = 32;

Shape Squeezed(const Shape& shape) {
  std::vector<int64_t> dims;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != 1) dims.push_back(shape[i]);
  }
  return *Shape::Checked(dims);
}

}  // namespace

bool MayPack(const Parameter& p) {
  return p.decays() && p.shape.rank() == 2 && p.shape.dim(0) >= kMinPackedExtent &&
         p.shape.dim(1) >= kMinPackedExtent;
}

Result<ParameterSink> ParameterSink::Create(const Parameter& p, const TensorInfo& stored,
                                            const LoadOptions& options) {
  ParameterSink sink(p);
  sink.dtype_ = stored.dtype;
  sink.form_ = stored.form;
  const bool rounded = stored.dtype == DType::kI8 && p.shape.rank() == 2;
  // Rounded values are stored by their rows, as the model has them.
  sink.transposes_ = p.stored_transposed && !stored.form.upright && !rounded;
  const Shape wanted = sink.transposes_ ? Shape({p.shape.dim(1), p.shape.dim(0)}) : p.shape;
  if (!(stored.shape == wanted) &&
      !(stored.form.squeezed && Squeezed(stored.shape) == Squeezed(wanted))) {
    return InvalidFile(StrCat("tensor '", stored.name, "' has the shape ", stored.shape.ToString(),
                              ", but the model needs ", wanted.ToString()));
  }
  if (!rounded && !IsFloating(stored.dtype)) {
    return Unsupported(StrCat("tensor '", stored.name, "': values of ", DTypeName(stored.dtype),
                              " cannot become F32"));
  }
  // A vector is one row, or where its values change places as many as it has.
  const bool scattered = wanted.rank() == 1 && !stored.form.to_row.empty();
  sink.rows_ = scattered ? wanted.elements() : wanted.rank() == 1 ? 1 : wanted.rows();
  sink.columns_ = sink.rows_ == 0 ? 0 : wanted.elements() / sink.rows_;
  if (sink.columns_ % BlockLayoutOf(stored.dtype).values != 0) {
    return InvalidFile(StrCat("tensor '", stored.name, "': its rows of ", sink.columns_,
                              " values are no whole blocks of ", DTypeName(stored.dtype)));
  }
  if (!stored.form.to_row.empty() &&
      static_cast<int64_t>(stored.form.to_row.size()) != sink.rows_) {
    return InvalidFile(StrCat("tensor '", stored.name, "' has ", sink.rows_, " rows; ",
                              stored.form.to_row.size(), " were expected"));
  }
  sink.row_bytes_ = BytesOfRow(stored.dtype, sink.columns_);
  sink.row_.resize(static_cast<size_t>(sink.columns_));
  sink.wants_scales_ = rounded;
  switch (options.format) {
    case WeightFormat::kF32:
      break;
    case WeightFormat::kQ8:
      sink.packs_ = MayPack(p) || rounded;
      break;
    case WeightFormat::kAsStored:
      sink.packs_ = rounded || (IsBlocked(stored.dtype) && MayPack(p) && !options.writable);
      break;
  }
  // A row that is to be rounded must be whole: what comes by columns is gathered first.
  if (sink.packs_ && !sink.transposes_) {
    SOTTO_ASSIGN_OR_RETURN(sink.packer_, Q8Packer::Create(p.shape[0], p.shape[1]));
  } else {
    SOTTO_ASSIGN_OR_RETURN(sink.plain_, Tensor::Allocate(p.shape));
  }
  return sink;
}

void ParameterSink::Place(int64_t row, const float* values) {
  if (packer_) return packer_->SetRow(row, values);
  if (!transposes_) {
    std::copy_n(values, columns_, plain_.f32() + row * columns_);
    return;
  }
  for (int64_t c = 0; c < columns_; ++c) plain_.f32()[c * rows_ + row] = values[c];
}

Status ParameterSink::Add(const char* bytes, int64_t count) {
  if (count > rows_ - next_) return Internal("a tensor got more rows than it has");
  for (; count > 0; --count, ++next_, bytes += row_bytes_) {
    const int64_t row = form_.to_row.empty() ? next_ : form_.to_row[static_cast<size_t>(next_)];
    if (wants_scales_) {
      const auto* rounded = reinterpret_cast<const int8_t*>(bytes);
      if (packer_) {
        SOTTO_RETURN_IF_ERROR(packer_->SetRounded(row, rounded));
        continue;
      }
      std::copy_n(rounded, columns_, row_.begin());
    } else {
      DecodeRow(dtype_, bytes, columns_, row_.data());
      if (form_.undo != nullptr) std::transform(row_.begin(), row_.end(), row_.begin(), form_.undo);
    }
    Place(row, row_.data());
  }
  return OkStatus();
}

void ParameterSink::SetScales(const float* scales) { scales_.assign(scales, scales + rows_); }

Result<Tensor> ParameterSink::Finish() {
  if (!whole()) return Internal("a tensor got fewer rows than it has");
  for (size_t r = 0; r < scales_.size(); ++r) {
    const auto row = static_cast<int64_t>(r);
    if (packer_) {
      packer_->SetScale(row, scales_[r]);
    } else {
      float* values = plain_.f32() + row * columns_;
      for (int64_t c = 0; c < columns_; ++c) values[c] *= scales_[r];
    }
  }
  if (packer_) return packer_->packed();
  return packs_ ? PackQ8(plain_) : Result<Tensor>(plain_);
}

}  // namespace sotto
