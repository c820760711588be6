// Safetensors: eight bytes with the header's length, a JSON header, then the tensors' bytes.
// Reading gives checked descriptions and never touches the data; writing gives the bytes that
// Hugging Face's library would write. It converts nothing, and repairs nothing that is wrong in a
// file.
#ifndef SOTTO_CORE_IO_SAFETENSORS_H_
#define SOTTO_CORE_IO_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/tensor/tensor.h"

namespace sotto {

// How a stored tensor differs from the one that a checkpoint holds under its name: what the
// converters to other formats do to it, for the loader to undo.
struct StoredForm {
  std::vector<int32_t> to_row;     // the checkpoint's row of each stored one; empty: the same
  std::vector<int32_t> to_column;  // and of each stored column
  float (*undo)(float) = nullptr;  // on each value
  bool upright = false;            // [out, in], although checkpoints hold it as [in, out]
  bool squeezed = false;           // extents of 1 may be left out
};

struct TensorInfo {
  std::string name;
  DType dtype;
  Shape shape;
  uint64_t begin, end;  // byte range in the file; need not be aligned
  StoredForm form = {};
  uint32_t file = 0;  // which of several files
};

class SafetensorsHeader {
 public:
  static constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as Hugging Face's library
  static constexpr size_t kMaxTensors = size_t{1} << 17;
  static constexpr size_t kMaxNameBytes = 4096;

  // How many of the file's first bytes Parse needs, from its first eight.
  static Result<uint64_t> HeaderBytes(std::string_view first_bytes, uint64_t file_size);
  // Reads the header from the first bytes of a file that may be still arriving. The tensors must be
  // named once each and cover the rest of the file without hole or overlap.
  static Result<SafetensorsHeader> Parse(std::string_view first_bytes, uint64_t file_size);

  std::span<const TensorInfo> tensors() const { return tensors_; }  // by their place in the file
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }
  const TensorInfo* Find(std::string_view name) const;

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<uint32_t> by_name_;  // positions in tensors_
  std::vector<std::pair<std::string, std::string>> metadata_;
};

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
using Metadata = std::vector<std::pair<std::string, std::string>>;

// Tensors are laid out by descending element size, then by name; the header is padded to 8 bytes.
Result<std::string> WriteSafetensors(const NamedTensors& tensors, const Metadata& metadata = {});
// The same, one tensor at a time into a file that appears under its name only when it is whole.
Status WriteSafetensorsFile(const std::string& path, const NamedTensors& tensors,
                            const Metadata& metadata = {});

// model.safetensors.index.json: which file holds which tensor.
struct ShardIndex {
  static constexpr size_t kMaxFiles = 1024;
  std::map<std::string, std::string, std::less<>> file_of;  // by the tensor's name
  std::vector<std::string> files;  // sorted; plain names in the same folder
};
Result<ShardIndex> ParseShardIndex(std::string_view json);
// Whether every tensor is in the file that the index names, and no other one is there.
Status CheckShards(const ShardIndex& index,
                   const std::map<std::string, std::string, std::less<>>& file_of);

// What bytes that are not safetensors seem to be, as a sentence with what to do; empty if unknown.
std::string_view RecognizeForeignFile(std::string_view first_bytes);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_SAFETENSORS_H_
