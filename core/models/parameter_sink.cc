#include "core/models/parameter_sink.h"

#include <algorithm>
#include <cstring>
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

bool MayPackTo4(const Parameter& p) { return MayPack(p) && p.kind != Parameter::Kind::kEmbedding; }

Result<ParameterSink> ParameterSink::Create(const Parameter& p, const TensorInfo& stored,
                                            const LoadOptions& options) {
  ParameterSink sink(p);
  sink.dtype_ = stored.dtype;
  sink.form_ = stored.form;
  const bool matrix = p.shape.rank() == 2;
  if (matrix && stored.dtype == DType::kI8) sink.rounded_ = 8;
  if (matrix && stored.dtype == DType::kU8) sink.rounded_ = 4;
  const bool rounded = sink.rounded_ != 0;
  // Rounded values are stored by their rows, as the model has them.
  sink.transposes_ = p.stored_transposed && !stored.form.upright && !rounded;
  const Shape wanted = sink.transposes_ ? Shape({p.shape.dim(1), p.shape.dim(0)}) : p.shape;
  Shape in_file = p.taps > 0 ? p.stored_shape() : wanted;
  if (sink.rounded_ == 4) {
    if (wanted[1] % kQ4Group != 0) {
      return InvalidFile(StrCat("tensor '", stored.name, "': rows of ", wanted[1],
                                " values cannot be groups of ", kQ4Group));
    }
    in_file = wanted;
    in_file.set_dim(1, wanted[1] / 2);
  }
  // The rows of a convolution's weight are the same bytes in either shape.
  const bool fits =
      stored.shape == in_file || (p.taps > 0 && sink.rounded_ != 4 && stored.shape == wanted);
  if (!fits && !(stored.form.squeezed && Squeezed(stored.shape) == Squeezed(wanted))) {
    return InvalidFile(StrCat("tensor '", stored.name, "' has the shape ", stored.shape.ToString(),
                              ", but the model needs ", in_file.ToString()));
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
  if (!stored.form.to_column.empty() &&
      (rounded || static_cast<int64_t>(stored.form.to_column.size()) != sink.columns_)) {
    return InvalidFile(StrCat("tensor '", stored.name, "' has ", sink.columns_, " columns; ",
                              stored.form.to_column.size(), " were expected"));
  }
  sink.row_bytes_ =
      sink.rounded_ == 4 ? sink.columns_ / 2 : BytesOfRow(stored.dtype, sink.columns_);
  sink.row_.resize(static_cast<size_t>(sink.columns_));
  switch (options.format) {
    case WeightFormat::kF32:
      break;
    case WeightFormat::kQ8:
      if (MayPack(p) || rounded) sink.packed_ = DType::kQ8;
      break;
    case WeightFormat::kQ4:
      if (MayPack(p) || rounded) sink.packed_ = DType::kQ8;
      if (MayPackTo4(p) || sink.rounded_ == 4) sink.packed_ = DType::kQ4;
      break;
    case WeightFormat::kAsStored:
      if (rounded) sink.packed_ = sink.rounded_ == 8 ? DType::kQ8 : DType::kQ4;
      if (IsBlocked(stored.dtype) && MayPack(p) && !options.writable) sink.packed_ = DType::kQ8;
      break;
  }
  // A row that is to be rounded must be whole and in its scale: what comes by columns, or is
  // rounded in another way, is gathered first.
  const bool by_rows = !sink.transposes_;
  if (by_rows && sink.packed_ == DType::kQ8 && sink.rounded_ != 4) {
    SOTTO_ASSIGN_OR_RETURN(sink.eight_, Q8Packer::Create(p.shape[0], p.shape[1]));
  } else if (by_rows && sink.packed_ == DType::kQ4 && sink.rounded_ != 8) {
    SOTTO_ASSIGN_OR_RETURN(sink.four_, Q4Packer::Create(p.shape[0], p.shape[1]));
  } else {
    SOTTO_ASSIGN_OR_RETURN(sink.plain_, Tensor::Allocate(p.shape));
  }
  return sink;
}

void ParameterSink::Place(int64_t row, const float* values) {
  if (eight_) return eight_->SetRow(row, values);
  if (four_) return four_->SetRow(row, values);
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
    if (rounded_ == 8) {
      const auto* rounded = reinterpret_cast<const int8_t*>(bytes);
      if (eight_) {
        SOTTO_RETURN_IF_ERROR(eight_->SetRounded(row, rounded));
        continue;
      }
      std::copy_n(rounded, columns_, row_.begin());
    } else if (rounded_ == 4) {
      const auto* rounded = reinterpret_cast<const uint8_t*>(bytes);
      if (four_) {
        four_->SetRounded(row, rounded);
        continue;
      }
      for (int64_t c = 0; c < columns_; ++c) {
        const int value = rounded[c / 2] >> (c % 2 * 4) & 15;
        row_[static_cast<size_t>(c)] = static_cast<float>(value - kQ4Offset);
      }
    } else {
      DecodeRow(dtype_, bytes, columns_, row_.data());
      if (form_.undo != nullptr) std::transform(row_.begin(), row_.end(), row_.begin(), form_.undo);
      if (!form_.to_column.empty()) {
        const std::vector<float> stored = row_;
        for (size_t c = 0; c < stored.size(); ++c) {
          row_[static_cast<size_t>(form_.to_column[c])] = stored[c];
        }
      }
    }
    Place(row, row_.data());
  }
  return OkStatus();
}

void ParameterSink::AddScales(std::string_view rows) {
  if (!eight_ && !four_) scales_.insert(scales_.end(), rows.begin(), rows.end());
  for (; !rows.empty(); ++next_scales_) {
    const std::string_view row = rows.substr(0, static_cast<size_t>(scales_row_bytes()));
    rows.remove_prefix(row.size());
    if (eight_) {
      float scale;
      std::memcpy(&scale, row.data(), sizeof(scale));
      eight_->SetScale(next_scales_, scale);
    } else if (four_) {
      four_->SetScales(next_scales_, row);
    }
  }
}

float ParameterSink::Scale(int64_t row, int64_t column) const {
  if (rounded_ == 8) {
    float scale;
    std::memcpy(&scale, scales_.data() + row * 4, 4);
    return scale;
  }
  uint16_t scale;
  std::memcpy(&scale, scales_.data() + (row * columns_ + column) / kQ4Group * 2, 2);
  return BF16ToF32(scale);
}

Result<Tensor> ParameterSink::Finish() {
  if (!whole()) return Internal("a tensor got fewer rows than it has");
  if (eight_) return eight_->packed();
  if (four_) return four_->packed();
  for (int64_t row = 0; wants_scales() && row < rows_; ++row) {
    float* values = plain_.f32() + row * columns_;
    for (int64_t c = 0; c < columns_; ++c) values[c] *= Scale(row, c);
  }
  if (packed_ == DType::kQ8) return PackQ8(plain_);
  if (packed_ == DType::kQ4) return PackQ4(plain_);
  return plain_;
}

}  // namespace sotto
