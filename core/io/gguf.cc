#include "core/io/gguf.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>
#include <set>
#include <tuple>
#include <type_traits>
#include <utility>

#include "core/base/checked.h"
#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/tensor/blocks.h"

namespace sotto {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr uint64_t kDefaultAlignment = 32;

// The types of metadata values, by their numbers in the file.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// The types of tensors, by their numbers in the file. What Sotto does not read has a name only.
struct TensorType {
  uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;
};
constexpr TensorType kTensorTypes[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},
    {6, "Q5_0", DType::kQ5_0},
    {7, "Q5_1", DType::kQ5_1},
    {8, "Q8_0", DType::kQ8_0},
    {9, "Q8_1", {}},
    {10, "Q2_K", DType::kQ2_K},
    {11, "Q3_K", DType::kQ3_K},
    {12, "Q4_K", DType::kQ4_K},
    {13, "Q5_K", DType::kQ5_K},
    {14, "Q6_K", DType::kQ6_K},
    {15, "Q8_K", {}},
    {16, "IQ2_XXS", {}},
    {17, "IQ2_XS", {}},
    {18, "IQ3_XXS", {}},
    {19, "IQ1_S", {}},
    {20, "IQ4_NL", DType::kIQ4_NL},
    {21, "IQ3_S", {}},
    {22, "IQ2_S", {}},
    {23, "IQ4_XS", {}},
    {24, "I8", DType::kI8},
    {25, "I16", {}},
    {26, "I32", DType::kI32},
    {27, "I64", DType::kI64},
    {28, "F64", {}},
    {29, "IQ1_M", {}},
    {30, "BF16", DType::kBF16},
    {34, "TQ1_0", {}},
    {35, "TQ2_0", {}},
    {39, "MXFP4", DType::kMXFP4},
    {40, "NVFP4", {}},
};

std::string Quoted(std::string_view bytes) {
  return Json::String(ReplaceInvalidUtf8(bytes.substr(0, 200))).Dump();
}

// The next bytes of a header that may be still arriving. `needs_more()` says that a failure is for
// lack of bytes that the file has.
class Reader {
 public:
  Reader(std::string_view bytes, uint64_t file_size) : bytes_(bytes), file_size_(file_size) {}

  uint64_t at() const { return at_; }
  uint64_t remaining() const { return file_size_ - at_; }
  bool needs_more() const { return needs_more_; }

  Result<std::string_view> Bytes(uint64_t count, std::string_view what) {
    if (count > remaining()) {
      return InvalidFile(StrCat("the file is cut short: ", what, " at byte ", at_, " needs ", count,
                                " bytes, but only ", remaining(), " follow"));
    }
    if (at_ + count > GgufHeader::kMaxHeaderBytes) {
      return InvalidFile(
          StrCat("the header has more than ", GgufHeader::kMaxHeaderBytes, " bytes"));
    }
    if (count > bytes_.size() - at_) {
      needs_more_ = true;
      return InvalidArgument("more bytes of the header are needed");
    }
    const std::string_view out =
        bytes_.substr(static_cast<size_t>(at_), static_cast<size_t>(count));
    at_ += count;
    return out;
  }

  template <class T>
  Result<T> Number(std::string_view what) {
    SOTTO_ASSIGN_OR_RETURN(const std::string_view raw, Bytes(sizeof(T), what));
    T value;
    std::memcpy(&value, raw.data(), raw.size());
    return value;
  }

  Result<std::string_view> String(std::string_view what, uint64_t max_bytes) {
    SOTTO_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(what));
    if (length > remaining()) {
      return InvalidFile(StrCat(what, " claims ", length, " bytes, but only ", remaining(),
                                " follow in the file"));
    }
    if (length > max_bytes) {
      return InvalidFile(
          StrCat(what, " has ", length, " bytes; at most ", max_bytes, " are allowed"));
    }
    return Bytes(length, what);
  }

 private:
  std::string_view bytes_;
  uint64_t file_size_;
  uint64_t at_ = 0;
  bool needs_more_ = false;
};

// What the value types of a kind become.
int64_t ToInt(uint64_t value) { return static_cast<int64_t>(value); }

template <class T>
Result<int64_t> ReadInt(Reader& reader) {
  SOTTO_ASSIGN_OR_RETURN(const T value, reader.Number<T>("a number"));
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InvalidFile(StrCat("it is ", value, "; at most 2^63 - 1 is read"));
    }
    return ToInt(value);
  } else {
    return static_cast<int64_t>(value);
  }
}

template <class T>
Result<double> ReadFloat(Reader& reader) {
  SOTTO_ASSIGN_OR_RETURN(const T value, reader.Number<T>("a number"));
  return static_cast<double>(value);
}

Result<bool> ReadBool(Reader& reader) {
  SOTTO_ASSIGN_OR_RETURN(const uint8_t value, reader.Number<uint8_t>("a bool"));
  if (value > 1) return InvalidFile(StrCat("a bool is ", value, "; it must be 0 or 1"));
  return value != 0;
}

Result<std::string> ReadString(Reader& reader) {
  SOTTO_ASSIGN_OR_RETURN(const std::string_view text,
                         reader.String("a string", GgufMetadata::kMaxStringBytes));
  return std::string(text);
}

template <class T>
Result<GgufValue> Single(Result<T> value) {
  if (!value.ok()) return value.status();
  return GgufValue(*std::move(value));
}

template <class T>
Result<GgufValue> Many(Reader& reader, uint64_t count, Result<T> (*read)(Reader&)) {
  std::vector<T> items;
  items.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    SOTTO_ASSIGN_OR_RETURN(T item, read(reader));
    items.push_back(std::move(item));
  }
  return GgufValue(std::move(items));
}

Status UnknownType(uint32_t type) {
  return InvalidFile(StrCat("its type ", type, " is unknown; types are 0 to 12"));
}

Result<GgufValue> ReadArray(Reader& reader, uint64_t& elements_left) {
  SOTTO_ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>("an array's type"));
  if (type == kArray) return Unsupported("it is an array of arrays, which is not supported");
  if (type > kFloat64) return UnknownType(type);
  SOTTO_ASSIGN_OR_RETURN(const uint64_t count, reader.Number<uint64_t>("an array's length"));
  constexpr uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};  // of one, at least
  if (count > reader.remaining() / kBytes[type]) {
    return InvalidFile(StrCat("it claims ", count, " elements, but only ", reader.remaining(),
                              " bytes follow in the file"));
  }
  if (count > elements_left) {
    return InvalidFile(StrCat("with its ", count, " elements the arrays have more than ",
                              GgufMetadata::kMaxArrayElements));
  }
  elements_left -= count;
  switch (type) {
    case kUint8:
      return Many(reader, count, ReadInt<uint8_t>);
    case kInt8:
      return Many(reader, count, ReadInt<int8_t>);
    case kUint16:
      return Many(reader, count, ReadInt<uint16_t>);
    case kInt16:
      return Many(reader, count, ReadInt<int16_t>);
    case kUint32:
      return Many(reader, count, ReadInt<uint32_t>);
    case kInt32:
      return Many(reader, count, ReadInt<int32_t>);
    case kUint64:
      return Many(reader, count, ReadInt<uint64_t>);
    case kInt64:
      return Many(reader, count, ReadInt<int64_t>);
    case kFloat32:
      return Many(reader, count, ReadFloat<float>);
    case kFloat64:
      return Many(reader, count, ReadFloat<double>);
    case kBool:
      return Many(reader, count, ReadBool);
    default:
      return Many(reader, count, ReadString);
  }
}

Result<GgufValue> ReadValue(Reader& reader, uint64_t& elements_left) {
  SOTTO_ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>("a value's type"));
  switch (type) {
    case kUint8:
      return Single(ReadInt<uint8_t>(reader));
    case kInt8:
      return Single(ReadInt<int8_t>(reader));
    case kUint16:
      return Single(ReadInt<uint16_t>(reader));
    case kInt16:
      return Single(ReadInt<int16_t>(reader));
    case kUint32:
      return Single(ReadInt<uint32_t>(reader));
    case kInt32:
      return Single(ReadInt<int32_t>(reader));
    case kUint64:
      return Single(ReadInt<uint64_t>(reader));
    case kInt64:
      return Single(ReadInt<int64_t>(reader));
    case kFloat32:
      return Single(ReadFloat<float>(reader));
    case kFloat64:
      return Single(ReadFloat<double>(reader));
    case kBool:
      return Single(ReadBool(reader));
    case kString:
      return Single(ReadString(reader));
    case kArray:
      return ReadArray(reader, elements_left);
    default:
      return UnknownType(type);
  }
}

// Names are printed in errors and compared with ours.
Status CheckName(std::string_view name, std::string_view what) {
  if (name.empty()) return InvalidFile(StrCat(what, " is empty"));
  if (!IsValidUtf8(name)) return InvalidFile(StrCat(what, " ", Quoted(name), " is not UTF-8"));
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return InvalidFile(StrCat(what, " ", Quoted(name), " has a control character"));
    }
  }
  return OkStatus();
}

Status ReadMetadata(Reader& reader, uint64_t count, GgufMetadata& metadata) {
  uint64_t elements_left = GgufMetadata::kMaxArrayElements;
  for (uint64_t i = 0; i < count; ++i) {
    SOTTO_ASSIGN_OR_RETURN(const std::string_view key,
                           reader.String("the name of a key", GgufMetadata::kMaxKeyBytes));
    SOTTO_RETURN_IF_ERROR(CheckName(key, "the name of a key"));
    if (metadata.Has(key)) return InvalidFile(StrCat("the key '", key, "' appears twice"));
    Result<GgufValue> value = ReadValue(reader, elements_left);
    if (!value.ok()) return value.status().In(StrCat("the value of '", key, "'"));
    metadata.Set(std::string(key), *std::move(value));
  }
  return OkStatus();
}

Result<DType> DTypeOf(uint32_t number) {
  for (const TensorType& type : kTensorTypes) {
    if (type.number != number) continue;
    if (type.dtype) return *type.dtype;
    return Unsupported(StrCat("its type ", type.name, " is not supported"));
  }
  return InvalidFile(StrCat("its type ", number, " is unknown"));
}

Result<Shape> ReadShape(Reader& reader) {
  SOTTO_ASSIGN_OR_RETURN(const uint32_t rank, reader.Number<uint32_t>("a tensor's rank"));
  if (rank > GgufHeader::kMaxRank) {
    return InvalidFile(
        StrCat("it has ", rank, " axes; at most ", GgufHeader::kMaxRank, " are allowed"));
  }
  std::vector<int64_t> dims(rank);
  for (uint32_t i = 0; i < rank; ++i) {
    SOTTO_ASSIGN_OR_RETURN(const uint64_t extent, reader.Number<uint64_t>("a tensor's shape"));
    if (extent == 0 || extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InvalidFile(
          StrCat("its shape has the extent ", extent, "; it must be between 1 and 2^63 - 1"));
    }
    dims[rank - 1 - i] = static_cast<int64_t>(extent);  // innermost first in the file
  }
  Result<Shape> shape = Shape::Checked(dims);
  if (!shape.ok()) return InvalidFile("its shape has too many elements");
  return shape;
}

// The range is relative to the data as yet.
Status ReadTensor(Reader& reader, TensorInfo& info) {
  SOTTO_ASSIGN_OR_RETURN(info.shape, ReadShape(reader));
  SOTTO_ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>("a tensor's type"));
  SOTTO_ASSIGN_OR_RETURN(info.dtype, DTypeOf(type));
  SOTTO_ASSIGN_OR_RETURN(info.begin, reader.Number<uint64_t>("a tensor's offset"));
  const BlockLayout block = BlockLayoutOf(info.dtype);
  if (info.shape.columns() % block.values != 0) {
    return InvalidFile(StrCat("its rows of ", info.shape.columns(), " values are not blocks of ",
                              block.values, ", as ", DTypeName(info.dtype), " needs"));
  }
  const uint64_t bytes = static_cast<uint64_t>(info.shape.elements() / block.values * block.bytes);
  const auto end = CheckedAdd(info.begin, bytes);
  if (!end) {
    return InvalidFile(StrCat("its offset ", info.begin, " and ", bytes, " bytes end past 2^64"));
  }
  info.end = *end;
  return OkStatus();
}

Result<uint64_t> ReadAlignment(const GgufMetadata& metadata) {
  if (!metadata.Has(kAlignmentKey)) return kDefaultAlignment;
  SOTTO_ASSIGN_OR_RETURN(
      const int64_t alignment,
      metadata.IntAt(kAlignmentKey, 1, static_cast<int64_t>(GgufHeader::kMaxAlignment)));
  if (!std::has_single_bit(static_cast<uint64_t>(alignment))) {
    return InvalidFile(StrCat("'", kAlignmentKey, "' is ", alignment, ", no power of two"));
  }
  return static_cast<uint64_t>(alignment);
}

uint64_t PaddedTo(uint64_t at, uint64_t alignment) { return (at + alignment - 1) & -alignment; }

// Sorts by place and demands that each tensor begins where the one before it ends, but for padding.
Status CheckCoverage(std::vector<TensorInfo>& tensors, uint64_t data_bytes, uint64_t alignment) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t at = 0;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : tensors) {
    const std::string where = StrCat("tensor '", tensor.name, "'");
    if (tensor.end > data_bytes) {
      return InvalidFile(StrCat("its data ends at byte ", tensor.end,
                                " of the data, but the file has only ", data_bytes,
                                ": it is cut short or corrupted"))
          .In(where);
    }
    if (tensor.begin % alignment != 0) {
      return InvalidFile(StrCat("its offset ", tensor.begin, " is no multiple of the alignment ",
                                alignment))
          .In(where);
    }
    if (tensor.begin < at) {
      return InvalidFile(StrCat("its data overlaps that of '", last->name, "'")).In(where);
    }
    if (tensor.begin > PaddedTo(at, alignment)) {
      return InvalidFile(StrCat("no tensor owns the bytes ", at, " to ", tensor.begin,
                                " of the data, before it"))
          .In(where);
    }
    at = tensor.end;
    last = &tensor;
  }
  if (data_bytes - at < alignment) return OkStatus();
  return InvalidFile(StrCat("the file has ", data_bytes - at, " bytes after its last tensor"));
}

Status CheckVersion(uint32_t version) {
  if (version == 2 || version == 3) return OkStatus();
  if (version == 1) {
    return Unsupported("it has version 1 of the format; convert it to version 3 with llama.cpp");
  }
  if ((version & 0xFFFF) == 0 && version != 0) {
    return Unsupported("it is a big-endian GGUF file; only little-endian ones are supported");
  }
  return Unsupported(StrCat("it has version ", version, " of the format; 2 and 3 are supported"));
}

Status ReadHeader(Reader& reader, GgufMetadata& metadata, std::vector<TensorInfo>& tensors) {
  SOTTO_ASSIGN_OR_RETURN(const std::string_view magic, reader.Bytes(4, "the magic number"));
  if (!IsGguf(magic)) return InvalidFile("this is not a GGUF file: it does not begin with 'GGUF'");
  SOTTO_ASSIGN_OR_RETURN(const uint32_t version, reader.Number<uint32_t>("the version"));
  SOTTO_RETURN_IF_ERROR(CheckVersion(version));
  SOTTO_ASSIGN_OR_RETURN(const uint64_t tensor_count,
                         reader.Number<uint64_t>("the number of tensors"));
  if (tensor_count > GgufHeader::kMaxTensors) {
    return InvalidFile(StrCat("the header claims ", tensor_count, " tensors; at most ",
                              GgufHeader::kMaxTensors, " are allowed"));
  }
  SOTTO_ASSIGN_OR_RETURN(const uint64_t key_count, reader.Number<uint64_t>("the number of keys"));
  if (key_count > GgufMetadata::kMaxKeys) {
    return InvalidFile(StrCat("the header claims ", key_count, " keys; at most ",
                              GgufMetadata::kMaxKeys, " are allowed"));
  }
  SOTTO_RETURN_IF_ERROR(ReadMetadata(reader, key_count, metadata));
  std::set<std::string_view> names;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    SOTTO_ASSIGN_OR_RETURN(const std::string_view name,
                           reader.String("the name of a tensor", SafetensorsHeader::kMaxNameBytes));
    SOTTO_RETURN_IF_ERROR(CheckName(name, "the name of a tensor"));
    if (!names.insert(name).second) {
      return InvalidFile(StrCat("tensor '", name, "' is there twice"));
    }
    TensorInfo info;
    info.name = name;
    const Status status = ReadTensor(reader, info);
    if (!status.ok()) return status.In(StrCat("tensor '", name, "'"));
    tensors.push_back(std::move(info));
  }
  return OkStatus();
}

}  // namespace

bool IsGguf(std::string_view first_bytes) { return first_bytes.starts_with(kMagic); }

Result<std::optional<GgufHeader>> GgufHeader::Parse(std::string_view first_bytes,
                                                    uint64_t file_size) {
  if (file_size == 0) return InvalidFile("the file is empty");
  GgufHeader header;
  Reader reader(first_bytes, file_size);
  const Status status = ReadHeader(reader, header.metadata_, header.tensors_);
  if (reader.needs_more()) return std::optional<GgufHeader>();
  if (!status.ok()) return status;
  SOTTO_ASSIGN_OR_RETURN(const uint64_t alignment, ReadAlignment(header.metadata_));
  // A file without tensors may end before the padding.
  const uint64_t data = std::min(PaddedTo(reader.at(), alignment), file_size);
  SOTTO_RETURN_IF_ERROR(CheckCoverage(header.tensors_, file_size - data, alignment));
  for (TensorInfo& info : header.tensors_) {
    info.begin += data;
    info.end += data;
  }
  return std::optional<GgufHeader>(std::move(header));
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

void GgufMetadata::Set(std::string key, GgufValue value) {
  values_.insert_or_assign(std::move(key), std::move(value));
}

Result<int64_t> GgufMetadata::IntAt(std::string_view key, int64_t min, int64_t max) const {
  const GgufValue* value = Find(key);
  const int64_t* number = value == nullptr ? nullptr : std::get_if<int64_t>(value);
  if (number != nullptr && *number >= min && *number <= max) return *number;
  return InvalidFile(StrCat("'", key, "' must be an integer between ", min, " and ", max,
                            number != nullptr  ? StrCat("; it is ", *number)
                            : value == nullptr ? "; it is missing"
                                               : ""));
}

Result<double> GgufMetadata::NumberAt(std::string_view key) const {
  const GgufValue* value = Find(key);
  if (value != nullptr) {
    if (const auto* number = std::get_if<double>(value)) return *number;
    if (const auto* number = std::get_if<int64_t>(value)) return static_cast<double>(*number);
  }
  return InvalidFile(
      StrCat("'", key, "' must be a number", value == nullptr ? "; it is missing" : ""));
}

Result<std::string> GgufMetadata::StringAt(std::string_view key) const {
  const GgufValue* value = Find(key);
  const std::string* text = value == nullptr ? nullptr : std::get_if<std::string>(value);
  if (text != nullptr) return *text;
  return InvalidFile(
      StrCat("'", key, "' must be a string", value == nullptr ? "; it is missing" : ""));
}

Result<int64_t> GgufMetadata::IntOr(std::string_view key, int64_t fallback, int64_t min,
                                    int64_t max) const {
  if (!Has(key)) return fallback;
  return IntAt(key, min, max);
}

Result<double> GgufMetadata::NumberOr(std::string_view key, double fallback) const {
  if (!Has(key)) return fallback;
  return NumberAt(key);
}

Result<bool> GgufMetadata::BoolOr(std::string_view key, bool fallback) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return fallback;
  if (const bool* flag = std::get_if<bool>(value)) return *flag;
  return InvalidFile(StrCat("'", key, "' must be a bool"));
}

Result<std::string> GgufMetadata::StringOr(std::string_view key, std::string_view fallback) const {
  if (!Has(key)) return std::string(fallback);
  return StringAt(key);
}

template <class T>
Result<const std::vector<T>*> GgufMetadata::ArrayOrNull(std::string_view key,
                                                        std::string_view what) const {
  static const std::vector<T> kEmpty;
  const GgufValue* value = Find(key);
  if (value == nullptr) return static_cast<const std::vector<T>*>(nullptr);
  if (const auto* items = std::get_if<std::vector<T>>(value)) return items;
  const bool empty = std::visit(
      [](const auto& items) {
        if constexpr (requires { items.size(); } &&
                      !std::is_same_v<std::decay_t<decltype(items)>, std::string>) {
          return items.empty();
        } else {
          return false;
        }
      },
      *value);
  if (empty) return &kEmpty;
  return InvalidFile(StrCat("'", key, "' must be an array of ", what));
}

Result<const std::vector<int64_t>*> GgufMetadata::IntsOrNull(std::string_view key) const {
  return ArrayOrNull<int64_t>(key, "integers");
}
Result<const std::vector<double>*> GgufMetadata::NumbersOrNull(std::string_view key) const {
  return ArrayOrNull<double>(key, "floats");
}
Result<const std::vector<bool>*> GgufMetadata::BoolsOrNull(std::string_view key) const {
  return ArrayOrNull<bool>(key, "bools");
}
Result<const std::vector<std::string>*> GgufMetadata::StringsOrNull(std::string_view key) const {
  return ArrayOrNull<std::string>(key, "strings");
}

Result<GgufSplit> ReadGgufSplit(const GgufMetadata& metadata) {
  GgufSplit split;
  SOTTO_ASSIGN_OR_RETURN(const int64_t count,
                         metadata.IntOr("split.count", 0, 0, GgufSplit::kMaxCount));
  if (count < 2) return split;
  SOTTO_ASSIGN_OR_RETURN(const int64_t index, metadata.IntAt("split.no", 0, count - 1));
  split.index = static_cast<int>(index);
  split.count = static_cast<int>(count);
  return split;
}

namespace {

std::string FiveDigits(int value) {
  std::string digits = std::to_string(value);
  return std::string(5 - std::min<size_t>(digits.size(), 5), '0') + digits;
}

}  // namespace

Result<std::vector<std::string>> GgufSplitNames(std::string_view name, int count) {
  constexpr std::string_view kSuffix = ".gguf";
  const std::string last = StrCat("-of-", FiveDigits(count), kSuffix);
  const size_t tail = last.size() + 6;  // "-00001"
  std::vector<std::string> names;
  if (name.ends_with(last) && name.size() > tail) {
    const std::string_view prefix = name.substr(0, name.size() - tail);
    bool named = false;
    for (int i = 1; i <= count; ++i) {
      names.push_back(StrCat(prefix, "-", FiveDigits(i), last));
      named |= names.back() == name;
    }
    if (named) return names;
  }
  return InvalidFile(StrCat("the file is one of ", count, " parts, but its name '", name,
                            "' does not end with '-00001", last, "' or the like"));
}

namespace {

template <class T>
void AppendNumber(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void AppendString(std::string& out, std::string_view text) {
  AppendNumber<uint64_t>(out, text.size());
  out += text;
}

// The narrowest type that other readers expect.
ValueType TypeOfInts(int64_t min, int64_t max) {
  if (min >= 0 && max <= std::numeric_limits<uint32_t>::max()) return kUint32;
  if (min >= std::numeric_limits<int32_t>::min() && max <= std::numeric_limits<int32_t>::max()) {
    return kInt32;
  }
  return kInt64;
}

void AppendInt(std::string& out, ValueType type, int64_t value) {
  if (type == kUint32) return AppendNumber(out, static_cast<uint32_t>(value));
  if (type == kInt32) return AppendNumber(out, static_cast<int32_t>(value));
  AppendNumber(out, value);
}

struct ValueWriter {
  std::string& out;

  void operator()(int64_t value) const {
    const ValueType type = TypeOfInts(value, value);
    AppendNumber<uint32_t>(out, type);
    AppendInt(out, type, value);
  }
  void operator()(double value) const {
    const bool narrow = static_cast<double>(static_cast<float>(value)) == value;
    AppendNumber<uint32_t>(out, narrow ? kFloat32 : kFloat64);
    narrow ? AppendNumber(out, static_cast<float>(value)) : AppendNumber(out, value);
  }
  void operator()(bool value) const {
    AppendNumber<uint32_t>(out, kBool);
    AppendNumber<uint8_t>(out, value);
  }
  void operator()(const std::string& value) const {
    AppendNumber<uint32_t>(out, kString);
    AppendString(out, value);
  }
  void Head(ValueType type, size_t count) const {
    AppendNumber<uint32_t>(out, kArray);
    AppendNumber<uint32_t>(out, type);
    AppendNumber<uint64_t>(out, count);
  }
  void operator()(const std::vector<int64_t>& values) const {
    const auto [min, max] = std::minmax_element(values.begin(), values.end());
    const ValueType type = values.empty() ? kInt32 : TypeOfInts(*min, *max);
    Head(type, values.size());
    for (const int64_t value : values) AppendInt(out, type, value);
  }
  void operator()(const std::vector<double>& values) const {
    Head(kFloat32, values.size());
    for (const double value : values) AppendNumber(out, static_cast<float>(value));
  }
  void operator()(const std::vector<bool>& values) const {
    Head(kBool, values.size());
    for (const bool value : values) AppendNumber<uint8_t>(out, value);
  }
  void operator()(const std::vector<std::string>& values) const {
    Head(kString, values.size());
    for (const std::string& value : values) AppendString(out, value);
  }
};

}  // namespace

Status GgufParts::Add(GgufHeader header) {
  SOTTO_ASSIGN_OR_RETURN(const GgufSplit split, ReadGgufSplit(header.metadata()));
  if (count_ == 0) wanted_ = split.count;
  if (split.count != wanted_ || split.index != count_) {
    return InvalidFile(StrCat("it says that it is part ", split.index + 1, " of ", split.count,
                              ", not ", count_ + 1, " of ", wanted_));
  }
  for (TensorInfo info : header.tensors()) {
    info.file = static_cast<uint32_t>(count_);
    tensors_.push_back(std::move(info));
  }
  if (count_ == 0) metadata_ = std::move(header.metadata());
  ++count_;
  return OkStatus();
}

Status GgufParts::Check() const {
  if (count_ < wanted_) return InvalidFile(StrCat(count_, " of ", wanted_, " parts are there"));
  const auto there = static_cast<int64_t>(tensors_.size());
  SOTTO_ASSIGN_OR_RETURN(const int64_t count,
                         metadata_.IntOr("split.tensors.count", there, 0, GgufHeader::kMaxTensors));
  if (count == there) return OkStatus();
  return InvalidFile(StrCat("the parts have ", there, " tensors, but the first says ", count));
}

Result<std::string> WriteGguf(const GgufMetadata& metadata, const NamedTensors& tensors) {
  SOTTO_ASSIGN_OR_RETURN(const uint64_t alignment, ReadAlignment(metadata));
  std::string out(kMagic);
  AppendNumber<uint32_t>(out, 3);
  AppendNumber<uint64_t>(out, tensors.size());
  AppendNumber<uint64_t>(out, metadata.values().size());
  for (const auto& [key, value] : metadata.values()) {
    AppendString(out, key);
    std::visit(ValueWriter{out}, value);
  }
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const TensorType* type =
        std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                     [&](const TensorType& t) { return t.dtype == tensor.dtype(); });
    if (!tensor || type == std::end(kTensorTypes) || tensor.rank() > GgufHeader::kMaxRank) {
      return InvalidArgument(StrCat("tensor '", name, "' ", tensor.shape().ToString(), " of ",
                                    DTypeName(tensor.dtype()), " has no form in a GGUF file"));
    }
    AppendString(out, name);
    AppendNumber<uint32_t>(out, static_cast<uint32_t>(tensor.rank()));
    for (int i = tensor.rank(); i-- > 0;) {
      AppendNumber<uint64_t>(out, static_cast<uint64_t>(tensor.dim(i)));
    }
    AppendNumber<uint32_t>(out, type->number);
    AppendNumber<uint64_t>(out, offset);
    offset = PaddedTo(offset + tensor.bytes(), alignment);
  }
  const auto pad = [&] { out.resize(static_cast<size_t>(PaddedTo(out.size(), alignment))); };
  pad();
  for (const auto& [name, tensor] : tensors) {
    out.append(static_cast<const char*>(tensor.data()), tensor.bytes());
    pad();
  }
  // What would not be read back must not be written: duplicate names, text that is not UTF-8.
  const auto check = GgufHeader::Parse(out, out.size());
  if (!check.ok()) return InvalidArgument(check.status().message()).In("cannot write this file");
  return out;
}

}  // namespace sotto
