#include "core/io/tensor_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/file.h"
#include "core/tensor/blocks.h"

namespace sotto {
namespace {

Status WrongShape(const TensorInfo& info, const Shape& wanted) {
  return InvalidFile(StrCat("tensor '", info.name, "' has the shape ", info.shape.ToString(),
                            ", but the model needs ", wanted.ToString()));
}

}  // namespace

Status TensorSource::Insert(Entry&& entry) {
  const std::string name = entry.info.name;
  const auto [at, added] = entries_.try_emplace(name, std::move(entry));
  if (added) return OkStatus();
  return InvalidFile(StrCat("tensor '", name, "' is there twice",
                            at->second.file.empty() ? "" : StrCat(", first in ", at->second.file)));
}

Status TensorSource::AddSafetensors(std::string_view bytes,
                                    const std::shared_ptr<const void>& owner,
                                    std::string_view file_name) {
  return AddArriving(bytes, bytes.size(), 0, owner, file_name);
}

Status TensorSource::AddArriving(std::string_view bytes, size_t arrived, size_t readable_after,
                                 const std::shared_ptr<const void>& owner,
                                 std::string_view file_name, bool mapped) {
  const auto header = SafetensorsHeader::Parse(bytes.substr(0, arrived), bytes.size());
  if (!header.ok()) return file_name.empty() ? header.status() : header.status().In(file_name);
  SOTTO_RETURN_IF_ERROR(AddTensors({header->tensors().begin(), header->tensors().end()}, bytes,
                                   readable_after, owner, file_name, mapped));
  for (const auto& item : header->metadata()) {
    if (std::find(metadata_.begin(), metadata_.end(), item) == metadata_.end()) {
      metadata_.push_back(item);
    }
  }
  return OkStatus();
}

Status TensorSource::AddTensors(std::vector<TensorInfo> tensors, std::string_view bytes,
                                size_t readable_after, const std::shared_ptr<const void>& owner,
                                std::string_view file_name, bool mapped) {
  for (TensorInfo& info : tensors) {
    Entry entry;
    entry.data = bytes.data() + info.begin;
    entry.readable = bytes.size() - info.begin + readable_after;
    entry.file = file_name;
    entry.owner = owner;
    entry.mapped = mapped;
    entry.info = std::move(info);
    const Status status = Insert(std::move(entry));
    if (!status.ok()) return file_name.empty() ? status : status.In(file_name);
  }
  return OkStatus();
}

Status TensorSource::Add(std::string name, Tensor tensor) {
  if (!tensor) return InvalidArgument(StrCat("tensor '", name, "' is empty"));
  Entry entry;
  entry.info = {std::move(name), tensor.dtype(), tensor.shape(), 0, tensor.bytes(), {}};
  entry.tensor = std::move(tensor);
  return Insert(std::move(entry));
}

Status TensorSource::Check(const ShardIndex& index) const {
  std::map<std::string, std::string, std::less<>> file_of;
  for (const auto& [name, entry] : entries_) file_of.emplace(name, entry.file);
  return CheckShards(index, file_of);
}

const TensorInfo* TensorSource::Find(std::string_view name) const {
  const auto at = entries_.find(name);
  return at == entries_.end() ? nullptr : &at->second.info;
}

Result<Tensor> TensorSource::Take(std::string_view name, const std::optional<Shape>& shape) {
  const auto at = entries_.find(name);
  if (at == entries_.end())
    return NotFound(StrCat("the model's files have no tensor '", name, "'"));
  Entry& entry = at->second;
  const TensorInfo& info = entry.info;
  if (shape && !(*shape == info.shape)) return WrongShape(info, *shape);
  entry.taken = true;
  if (entry.tensor) return entry.tensor;

  const uint64_t bytes = info.end - info.begin;
  const size_t alignment = std::max<size_t>(DTypeBytes(info.dtype), 1);
  const bool aligned = reinterpret_cast<uintptr_t>(entry.data) % alignment == 0;
  if (aligned && entry.readable - bytes >= kAlignment) {
    Tensor view = Tensor::Borrow(entry.data, info.shape, info.dtype, entry.owner);
    if (!view) return OutOfMemory(StrCat("no memory for tensor '", name, "'"));
    return view;
  }
  Result<Tensor> copy = Tensor::Allocate(info.shape, info.dtype);
  if (!copy.ok()) return copy.status().In(StrCat("tensor '", name, "'"));
  if (bytes > 0) std::memcpy(copy->data(), entry.data, static_cast<size_t>(bytes));
  return copy;
}

Result<Tensor> TensorSource::TakeF32(std::string_view name, const std::optional<Shape>& shape) {
  SOTTO_ASSIGN_OR_RETURN(const Tensor stored, Take(name, shape));
  Result<Tensor> converted = ConvertFloats(stored, DType::kF32);
  if (!converted.ok()) return converted.status().In(StrCat("tensor '", name, "'"));
  return converted;
}

Result<std::string_view> TensorSource::TakeBytes(std::string_view name) {
  const auto at = entries_.find(name);
  if (at == entries_.end())
    return NotFound(StrCat("the model's files have no tensor '", name, "'"));
  Entry& entry = at->second;
  entry.taken = true;
  if (entry.tensor) {
    return std::string_view(static_cast<const char*>(entry.tensor.data()), entry.tensor.bytes());
  }
  return std::string_view(entry.data, static_cast<size_t>(entry.info.end - entry.info.begin));
}

void TensorSource::Forget(std::string_view name, uint64_t begin, uint64_t end) {
  const auto at = entries_.find(name);
  if (at != entries_.end() && at->second.mapped)
    ForgetMapped({at->second.data + begin, static_cast<size_t>(end - begin)});
}

void TensorSource::Skip(std::string_view name) {
  const auto at = entries_.find(name);
  if (at != entries_.end()) at->second.taken = true;
}

void TensorSource::Rewind() {
  for (auto& [name, entry] : entries_) entry.taken = false;
}

std::vector<std::string> TensorSource::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

std::vector<std::string> TensorSource::Unused() const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries_) {
    if (!entry.taken) names.push_back(name);
  }
  return names;
}

namespace {

template <class From, class To, class Convert>
void ConvertAll(const Tensor& from, Tensor& to, Convert convert) {
  const From* in = static_cast<const From*>(from.data());
  To* out = static_cast<To*>(to.data());
  for (int64_t i = 0, n = from.elements(); i < n; ++i) out[i] = convert(in[i]);
}

}  // namespace

Result<Tensor> ConvertFloats(const Tensor& tensor, DType dtype) {
  const DType from = tensor.dtype();
  if (!IsFloating(from) || !IsFloating(dtype) || IsBlocked(dtype) ||
      (IsBlocked(from) && dtype != DType::kF32)) {
    return Unsupported(StrCat("values of ", DTypeName(from), " cannot become ", DTypeName(dtype)));
  }
  if (from == dtype) return tensor;
  SOTTO_ASSIGN_OR_RETURN(Tensor out, Tensor::Allocate(tensor.shape(), dtype));
  using U16 = uint16_t;
  if (dtype == DType::kF32) {
    DecodeRow(from, tensor.data(), tensor.elements(), out.f32());
  } else if (from == DType::kF32 && dtype == DType::kF16) {
    ConvertAll<float, U16>(tensor, out, F32ToF16);
  } else if (from == DType::kF32) {
    ConvertAll<float, U16>(tensor, out, F32ToBF16);
  } else if (from == DType::kF16) {
    ConvertAll<U16, U16>(tensor, out, [](U16 v) { return F32ToBF16(F16ToF32(v)); });
  } else {
    ConvertAll<U16, U16>(tensor, out, [](U16 v) { return F32ToF16(BF16ToF32(v)); });
  }
  return out;
}

}  // namespace sotto
