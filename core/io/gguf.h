// GGUF, versions 2 and 3: one file with typed metadata, a table of tensors and their data. Reading
// gives a checked table and checked descriptions and never touches the tensors' data; writing gives
// a file that other readers take. What the keys mean is not known here (see gguf_model.h and
// gguf_tokenizer.h).
#ifndef SOTTO_CORE_IO_GGUF_H_
#define SOTTO_CORE_IO_GGUF_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/status.h"
#include "core/io/safetensors.h"
#include "core/tensor/tensor.h"

namespace sotto {

// A value of the metadata. Integers of every width are int64, f32 and f64 are double; a value or an
// element past int64 is an error. Arrays hold one of the four and are never nested. Strings are any
// bytes: whether they are UTF-8 is for the reader of the key to check.
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>,
                               std::vector<double>, std::vector<bool>, std::vector<std::string>>;

class GgufMetadata {
 public:
  static constexpr size_t kMaxKeys = size_t{1} << 16;
  static constexpr size_t kMaxKeyBytes = 65535;                 // as the specification
  static constexpr size_t kMaxStringBytes = size_t{16} << 20;   // a chat template, a licence
  static constexpr size_t kMaxArrayElements = size_t{1} << 23;  // of all arrays together

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const GgufValue* Find(std::string_view key) const;  // null where there is none
  void Set(std::string key, GgufValue value);         // replaces

  // Typed values with a reason when they are absent or of another type: "'llama.block_count' must
  // be an integer between 1 and 1024". A number may be an integer.
  Result<int64_t> IntAt(std::string_view key, int64_t min, int64_t max) const;
  Result<double> NumberAt(std::string_view key) const;
  Result<std::string> StringAt(std::string_view key) const;
  // The same where an absent key means `fallback`.
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  Result<double> NumberOr(std::string_view key, double fallback) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;
  // Arrays: null where the key is absent; an error where it has another type. An array without
  // elements is of every type.
  Result<const std::vector<int64_t>*> IntsOrNull(std::string_view key) const;
  Result<const std::vector<double>*> NumbersOrNull(std::string_view key) const;
  Result<const std::vector<bool>*> BoolsOrNull(std::string_view key) const;
  Result<const std::vector<std::string>*> StringsOrNull(std::string_view key) const;

  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

 private:
  template <class T>
  Result<const std::vector<T>*> ArrayOrNull(std::string_view key, std::string_view what) const;

  std::map<std::string, GgufValue, std::less<>> values_;
};

class GgufHeader {
 public:
  static constexpr size_t kMaxTensors = size_t{1} << 17;
  static constexpr int kMaxRank = 4;  // as ggml
  static constexpr uint64_t kMaxHeaderBytes = uint64_t{256} << 20;
  static constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;

  // Reads the header from the first bytes of a file that may be still arriving; nothing where it is
  // well so far and more bytes are needed to say. Tensors must be named once each, begin at
  // multiples of the alignment and cover the file but for the padding between them.
  static Result<std::optional<GgufHeader>> Parse(std::string_view first_bytes, uint64_t file_size);

  const GgufMetadata& metadata() const { return metadata_; }
  GgufMetadata& metadata() { return metadata_; }
  // By their place in the file. Shapes are outermost first, as everywhere here (the file has them
  // innermost first).
  std::span<const TensorInfo> tensors() const { return tensors_; }

 private:
  GgufMetadata metadata_;
  std::vector<TensorInfo> tensors_;
};

// Whether the first bytes are those of a GGUF file.
bool IsGguf(std::string_view first_bytes);

// Which part of a model a file is: "split.no" and "split.count", or 0 of 1.
struct GgufSplit {
  static constexpr int kMaxCount = 1024;
  int index = 0, count = 1;
};
Result<GgufSplit> ReadGgufSplit(const GgufMetadata& metadata);
// The names of all parts, from the name of one ("x-00001-of-00003.gguf"); an error where the name
// does not say.
Result<std::vector<std::string>> GgufSplitNames(std::string_view name, int count);

// The headers of a model's files, in their order, of which the first says how many there are.
class GgufParts {
 public:
  // The header of the next part. One that says to be another part is an error.
  Status Add(GgufHeader header);
  int count() const { return count_; }    // added
  int wanted() const { return wanted_; }  // in all, once the first is there
  // Whether all are there, with as many tensors as the first says.
  Status Check() const;

  const GgufMetadata& metadata() const { return metadata_; }  // of the first
  void ForgetMetadata() { metadata_ = {}; }                   // once it was read: it may be large
  // Of all, each with the number of its file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

 private:
  GgufMetadata metadata_;
  std::vector<TensorInfo> tensors_;
  int count_ = 0, wanted_ = 1;
};

// A version 3 file. Integers are written as u32 where they fit, then i32, then i64; tensors of any
// dtype that the format has.
Result<std::string> WriteGguf(const GgufMetadata& metadata, const NamedTensors& tensors);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_GGUF_H_
