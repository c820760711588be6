// The tensors of one model, from one or several files, found by name. It remembers which were
// taken, so that a loader can name what it did not use. It owns no weights: tensors are views into
// the files' memory wherever dtype and alignment allow.
#ifndef SOTTO_CORE_IO_TENSOR_SOURCE_H_
#define SOTTO_CORE_IO_TENSOR_SOURCE_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/io/safetensors.h"
#include "core/tensor/tensor.h"

namespace sotto {

class TensorSource {
 public:
  // Adds the tensors of a safetensors file, of which only the header is read now. `owner` keeps the
  // bytes alive (null: the caller promises that they outlive every tensor).
  Status AddSafetensors(std::string_view bytes, const std::shared_ptr<const void>& owner,
                        std::string_view file_name = "");
  // The same where `bytes` is the place of the whole file, of which the first `arrived` are there.
  // The data must be there when it is taken. Kernels read up to kAlignment bytes past a tensor's
  // end: a tensor with fewer bytes behind it is copied, unless `readable_after` more follow the
  // file.
  // `mapped`: the bytes are a mapped file's, so that Forget can give their pages back.
  Status AddArriving(std::string_view bytes, size_t arrived, size_t readable_after,
                     const std::shared_ptr<const void>& owner, std::string_view file_name = "",
                     bool mapped = false);
  // The tensors of a file of any format, at their places in `bytes`.
  Status AddTensors(std::vector<TensorInfo> tensors, std::string_view bytes, size_t readable_after,
                    const std::shared_ptr<const void>& owner, std::string_view file_name,
                    bool mapped = false);
  // A tensor that is in memory already.
  Status Add(std::string name, Tensor tensor);
  // Whether every tensor of a sharded model is in the file that its index names, and no other one
  // is.
  Status Check(const ShardIndex& index) const;

  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  const TensorInfo* Find(std::string_view name) const;  // null where there is none
  // The tensor as it is stored. Where a shape is given, another one is an error that names both.
  Result<Tensor> Take(std::string_view name, const std::optional<Shape>& shape = std::nullopt);
  // The same as f32: a view of stored f32, a converted copy of f16 and bf16; integers are an error.
  Result<Tensor> TakeF32(std::string_view name, const std::optional<Shape>& shape = std::nullopt);
  // The stored bytes of a tensor, at any alignment, valid as long as the source and its owners.
  Result<std::string_view> TakeBytes(std::string_view name);
  // Bytes begin..end of a tensor that were taken are of no more use.
  void Forget(std::string_view name, uint64_t begin, uint64_t end);
  // Counts a tensor as used without reading it.
  void Skip(std::string_view name);
  // Forgets what was taken, so that the same files can fill another model.
  void Rewind();

  std::vector<std::string> Names() const;                 // sorted
  std::vector<std::string> Unused() const;                // sorted
  const Metadata& metadata() const { return metadata_; }  // of all files, in the order of adding

 private:
  struct Entry {
    TensorInfo info;
    std::string file;
    const char* data = nullptr;
    uint64_t readable = 0;  // bytes from `data` on
    std::shared_ptr<const void> owner;
    Tensor tensor;  // of Add
    bool taken = false, mapped = false;
  };
  Status Insert(Entry&& entry);

  std::map<std::string, Entry, std::less<>> entries_;
  Metadata metadata_;
};

// A tensor with its elements as another float type, rounded to nearest even: f32, f16 and bf16 as
// each other, and blocks as f32; the same tensor where it has that type already.
Result<Tensor> ConvertFloats(const Tensor& tensor, DType dtype);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_TENSOR_SOURCE_H_
