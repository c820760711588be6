#include "core/io/safetensors.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <tuple>

#include "core/base/checked.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/sort.h"

namespace sotto {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint64_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

struct DTypeEntry {
  std::string_view name;
  DType dtype;
};
constexpr DTypeEntry kDTypes[] = {
    {"F32", DType::kF32}, {"F16", DType::kF16}, {"BF16", DType::kBF16}, {"I64", DType::kI64},
    {"I32", DType::kI32}, {"I8", DType::kI8},   {"U8", DType::kU8},     {"BOOL", DType::kBool},
};
// What the format knows besides.
constexpr std::string_view kOtherDTypes[] = {
    "F64",     "I16",     "U16",     "U32", "U64", "F8_E4M3",     "F8_E5M2",
    "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4",  "C64", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
};

uint64_t LoadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = kLengthBytes; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

// A length beyond reason may be the magic number of another format.
Status NotSafetensors(std::string_view first_bytes, std::string why) {
  const std::string_view foreign = RecognizeForeignFile(first_bytes);
  if (!foreign.empty()) return InvalidFile(StrCat("this is not a safetensors file: ", foreign));
  return InvalidFile(std::move(why));
}

Status CheckName(std::string_view name) {
  if (name.empty()) return InvalidFile("a tensor has an empty name");
  if (name.size() > SafetensorsHeader::kMaxNameBytes) {
    return InvalidFile(StrCat("a tensor's name has ", name.size(), " bytes; at most ",
                              SafetensorsHeader::kMaxNameBytes, " are allowed"));
  }
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      return InvalidFile(StrCat("the tensor name ", Json::String(std::string(name)).Dump(),
                                " has a control character"));
    }
  }
  return OkStatus();
}

Result<DType> ParseDType(const Json& value) {
  if (!value.is_string()) return InvalidFile("its 'dtype' must be a string");
  const std::string& name = value.as_string();
  for (const DTypeEntry& entry : kDTypes) {
    if (entry.name == name) return entry.dtype;
  }
  for (const std::string_view other : kOtherDTypes) {
    if (other == name) return Unsupported(StrCat("its dtype ", name, " is not supported"));
  }
  return InvalidFile(StrCat("its dtype ", value.Dump(), " is unknown"));
}

Result<Shape> ParseShape(const Json& value) {
  if (!value.is_array()) return InvalidFile("its 'shape' must be an array");
  if (value.items().size() > Shape::kMaxRank) {
    return InvalidFile(StrCat("it has ", value.items().size(), " axes; at most ", Shape::kMaxRank,
                              " are allowed"));
  }
  std::vector<int64_t> dims;
  for (const Json& item : value.items()) {
    if (!item.is_int()) {
      return InvalidFile(StrCat("its shape has ", item.Dump(), ", which is not a 64-bit integer"));
    }
    if (item.as_int() < 0) {
      return InvalidFile(StrCat("its shape has ", item.as_int(), ", which is negative"));
    }
    dims.push_back(item.as_int());
  }
  Result<Shape> shape = Shape::Checked(dims);
  if (!shape.ok()) return InvalidFile(StrCat("its shape ", value.Dump(), " has too many elements"));
  return shape;
}

// Fills the byte range, still relative to the data, from 'data_offsets'.
Status ParseRange(const Json& value, uint64_t data_bytes, TensorInfo& info) {
  const std::vector<Json>& ends = value.items();
  if (ends.size() != 2 || !ends[0].is_int() || !ends[1].is_int()) {
    return InvalidFile("its 'data_offsets' must be two integers");
  }
  if (ends[0].as_int() < 0 || ends[1].as_int() < 0) {
    return InvalidFile(StrCat("its data_offsets ", value.Dump(), " are negative"));
  }
  info.begin = static_cast<uint64_t>(ends[0].as_int());
  info.end = static_cast<uint64_t>(ends[1].as_int());
  if (info.begin > info.end) {
    return InvalidFile(StrCat("its data_offsets ", value.Dump(), " end before they begin"));
  }
  if (info.end > data_bytes) {
    return InvalidFile(StrCat("its data ends at byte ", info.end,
                              " of the data, but the file has only ", data_bytes,
                              ": it is cut short or corrupted"));
  }
  const auto needed =
      CheckedMul(static_cast<uint64_t>(info.shape.elements()), DTypeBytes(info.dtype));
  if (!needed || *needed != info.end - info.begin) {
    return InvalidFile(StrCat("its shape ", info.shape.ToString(), " of ", DTypeName(info.dtype),
                              " needs ", needed.value_or(0), " bytes, but its data_offsets give ",
                              info.end - info.begin));
  }
  return OkStatus();
}

Status ParseTensor(const Json& value, uint64_t data_bytes, TensorInfo& info) {
  if (!value.is_object()) return InvalidFile("its description must be an object");
  for (const auto& [key, unused] : value.members()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return InvalidFile(StrCat("its description has the unknown key ", Json::String(key).Dump()));
    }
  }
  for (const std::string_view key : {"dtype", "shape", "data_offsets"}) {
    if (!value.has(key)) return InvalidFile(StrCat("its '", key, "' is missing"));
  }
  SOTTO_ASSIGN_OR_RETURN(info.dtype, ParseDType(value["dtype"]));
  SOTTO_ASSIGN_OR_RETURN(info.shape, ParseShape(value["shape"]));
  return ParseRange(value["data_offsets"], data_bytes, info);
}

Status ParseMetadata(const Json& value, Metadata& metadata) {
  if (!value.is_object()) return InvalidFile("__metadata__ must be an object");
  for (const auto& [key, text] : value.members()) {
    if (!text.is_string()) {
      return InvalidFile(StrCat("the metadata ", Json::String(key).Dump(), " must be a string"));
    }
    metadata.emplace_back(key, text.as_string());
  }
  return OkStatus();
}

// Sorts by place and demands that each tensor begins where the one before it ends.
Status CheckCoverage(std::vector<TensorInfo>& tensors, uint64_t data_bytes) {
  HeapSort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t at = 0;
  const TensorInfo* last = nullptr;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin < at) {
      return InvalidFile(
          StrCat("the data of tensor '", tensor.name, "' overlaps that of '", last->name, "'"));
    }
    if (tensor.begin > at) {
      return InvalidFile(StrCat("no tensor owns the bytes ", at, " to ", tensor.begin,
                                " of the data, before tensor '", tensor.name, "'"));
    }
    at = tensor.end;
    last = &tensor;
  }
  if (at == data_bytes) return OkStatus();
  return InvalidFile(StrCat("the file has ", data_bytes - at, " bytes after its last tensor"));
}

}  // namespace

std::string_view RecognizeForeignFile(std::string_view first_bytes) {
  struct Magic {
    std::string_view bytes, meaning;
  };
  static constexpr std::string_view kPickle =
      "it looks like a PyTorch pickle (pytorch_model.bin), which can run code when it is read; use "
      "the model's .safetensors file, or convert it with safetensors.torch.save_file";
  static constexpr Magic kMagics[] = {
      {"PK\x03\x04", kPickle},
      {"\x80\x02", kPickle},
      {"\x80\x03", kPickle},
      {"\x80\x04", kPickle},
      {"GGUF", "it is a GGUF file; open it under its .gguf name"},
      {"\x89HDF", "it is an HDF5 file (Keras); export the model as safetensors"},
      {"\x1F\x8B", "it is compressed with gzip; decompress it first"},
      {"version https://git-lfs",
       "it is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'"},
      {"<!DOCTYPE", "it is an HTML page; the download reached a web page instead of the file"},
      {"<!doctype", "it is an HTML page; the download reached a web page instead of the file"},
      {"<html", "it is an HTML page; the download reached a web page instead of the file"},
      {"{\"", "it is a JSON text without the 8 bytes of the header's length before it"},
  };
  for (const Magic& magic : kMagics) {
    // Callers may hold eight bytes only.
    const size_t n = std::min(magic.bytes.size(), std::max<size_t>(first_bytes.size(), 1));
    if ((n == magic.bytes.size() || n >= kLengthBytes) &&
        first_bytes.substr(0, n) == magic.bytes.substr(0, n)) {
      return magic.meaning;
    }
  }
  return {};
}

Result<uint64_t> SafetensorsHeader::HeaderBytes(std::string_view first_bytes, uint64_t file_size) {
  if (file_size == 0) return InvalidFile("the file is empty");
  if (file_size < kLengthBytes) {
    return NotSafetensors(first_bytes,
                          StrCat("the file has ", file_size,
                                 " bytes; a safetensors file begins with the 8 bytes of its "
                                 "header's length"));
  }
  if (first_bytes.size() < kLengthBytes) {
    return InvalidArgument("the first 8 bytes of a safetensors file are needed to read its header");
  }
  const uint64_t length = LoadLittleEndian(first_bytes);
  if (length > kMaxHeaderBytes) {
    return NotSafetensors(first_bytes, StrCat("the header claims ", length, " bytes; at most ",
                                              kMaxHeaderBytes, " are allowed"));
  }
  if (length > file_size - kLengthBytes) {
    return InvalidFile(StrCat("the header claims ", length, " bytes, but the file has only ",
                              file_size - kLengthBytes, " after its length: it is cut short"));
  }
  if (length < 2)
    return InvalidFile(StrCat("the header of ", length, " bytes holds no JSON object"));
  return kLengthBytes + length;
}

Result<SafetensorsHeader> SafetensorsHeader::Parse(std::string_view first_bytes,
                                                   uint64_t file_size) {
  SOTTO_ASSIGN_OR_RETURN(const uint64_t header_bytes, HeaderBytes(first_bytes, file_size));
  if (first_bytes.size() < header_bytes) {
    return InvalidArgument(StrCat("the header has ", header_bytes, " bytes, of which only ",
                                  first_bytes.size(), " have arrived"));
  }
  const std::string_view text =
      first_bytes.substr(kLengthBytes, static_cast<size_t>(header_bytes - kLengthBytes));
  const Result<Json> json = Json::Parse(text, {.max_depth = 3, .max_values = 20 * kMaxTensors});
  if (!json.ok()) return json.status().In("the safetensors header");
  if (!json->is_object()) return InvalidFile("the safetensors header must be a JSON object");
  if (json->members().size() > kMaxTensors) {
    return InvalidFile(StrCat("the header names ", json->members().size(), " tensors; at most ",
                              kMaxTensors, " are allowed"));
  }

  SafetensorsHeader header;
  const uint64_t data_bytes = file_size - header_bytes;
  header.tensors_.reserve(json->members().size());
  for (const auto& [name, value] : json->members()) {
    if (name == kMetadataKey) {
      SOTTO_RETURN_IF_ERROR(ParseMetadata(value, header.metadata_));
      continue;
    }
    SOTTO_RETURN_IF_ERROR(CheckName(name));
    TensorInfo info;
    info.name = name;
    const Status status = ParseTensor(value, data_bytes, info);
    if (!status.ok()) return status.In(StrCat("tensor '", name, "'"));
    header.tensors_.push_back(std::move(info));
  }
  SOTTO_RETURN_IF_ERROR(CheckCoverage(header.tensors_, data_bytes));
  header.by_name_.resize(header.tensors_.size());
  for (uint32_t i = 0; i < header.by_name_.size(); ++i) {
    header.tensors_[i].begin += header_bytes;
    header.tensors_[i].end += header_bytes;
    header.by_name_[i] = i;
  }
  HeapSort(header.by_name_.begin(), header.by_name_.end(), [&](uint32_t a, uint32_t b) {
    return header.tensors_[a].name < header.tensors_[b].name;
  });
  return header;
}

const TensorInfo* SafetensorsHeader::Find(std::string_view name) const {
  const auto at = std::lower_bound(
      by_name_.begin(), by_name_.end(), name,
      [&](uint32_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

namespace {

// Hugging Face's library orders the dtypes so, the widest first.
int LayoutRank(DType dtype) {
  constexpr DType kOrder[] = {DType::kI64, DType::kF32, DType::kI32, DType::kBF16,
                              DType::kF16, DType::kI8,  DType::kU8,  DType::kBool};
  return static_cast<int>(std::find(std::begin(kOrder), std::end(kOrder), dtype) -
                          std::begin(kOrder));
}

struct Layout {
  std::string header;  // with its length and padding
  std::vector<const std::pair<std::string, Tensor>*> order;
  uint64_t bytes = 0;  // of the whole file
};

Status CheckWritable(const std::string& name, const Tensor& tensor) {
  if (name == kMetadataKey) return InvalidArgument("a tensor must not be named __metadata__");
  SOTTO_RETURN_IF_ERROR(CheckName(name));
  if (!tensor) return InvalidArgument(StrCat("tensor '", name, "' is empty"));
  if (IsPacked(tensor.dtype())) {
    return InvalidArgument(StrCat("tensor '", name, "' is packed for a kernel; store its rows"));
  }
  return OkStatus();
}

Result<Layout> LayOut(const NamedTensors& tensors, Metadata metadata) {
  Layout layout;
  for (const auto& named : tensors) {
    SOTTO_RETURN_IF_ERROR(CheckWritable(named.first, named.second));
    layout.order.push_back(&named);
  }
  std::sort(layout.order.begin(), layout.order.end(), [](const auto* a, const auto* b) {
    const int ranks = LayoutRank(a->second.dtype()) - LayoutRank(b->second.dtype());
    return ranks != 0 ? ranks < 0 : a->first < b->first;
  });
  std::vector<Json::Member> members;
  if (!metadata.empty()) {
    std::sort(metadata.begin(), metadata.end());
    std::vector<Json::Member> texts;
    for (auto& [key, text] : metadata) texts.emplace_back(key, Json::String(text));
    members.emplace_back(kMetadataKey, Json::Object(std::move(texts)));
  }
  uint64_t at = 0;
  for (const auto* named : layout.order) {
    const Tensor& tensor = named->second;
    const uint64_t end = at + tensor.bytes();
    std::vector<Json> dims;
    for (int i = 0; i < tensor.rank(); ++i) dims.push_back(Json::Int(tensor.dim(i)));
    members.emplace_back(
        named->first,
        Json::Object({{"dtype", Json::String(std::string(DTypeName(tensor.dtype())))},
                      {"shape", Json::Array(std::move(dims))},
                      {"data_offsets", Json::Array({Json::Int(static_cast<int64_t>(at)),
                                                    Json::Int(static_cast<int64_t>(end))})}}));
    at = end;
  }
  std::string json = Json::Object(std::move(members)).Dump();
  json.append((kLengthBytes - json.size() % kLengthBytes) % kLengthBytes, ' ');
  if (json.size() > SafetensorsHeader::kMaxHeaderBytes) {
    return InvalidArgument(StrCat("the names take a header of ", json.size(), " bytes; at most ",
                                  SafetensorsHeader::kMaxHeaderBytes, " are allowed"));
  }
  const uint64_t length = json.size();  // 64 bits, so that every shift below is defined
  for (size_t i = 0; i < kLengthBytes; ++i) {
    layout.header.push_back(static_cast<char>(length >> (8 * i)));
  }
  layout.header += json;
  layout.bytes = layout.header.size() + at;
  // What would not be read back must not be written: duplicate names, text that is not UTF-8.
  const auto check = SafetensorsHeader::Parse(layout.header, layout.bytes);
  if (!check.ok())
    return InvalidArgument(check.status().message()).In("cannot write these tensors");
  return layout;
}

std::string_view BytesOf(const Tensor& tensor) {
  return {static_cast<const char*>(tensor.data()), tensor.bytes()};
}

}  // namespace

Result<std::string> WriteSafetensors(const NamedTensors& tensors, const Metadata& metadata) {
  SOTTO_ASSIGN_OR_RETURN(const Layout layout, LayOut(tensors, metadata));
  std::string out;
  if (layout.bytes > out.max_size()) {
    return OutOfMemory(StrCat("a file of ", layout.bytes, " bytes does not fit in memory"));
  }
  out.reserve(static_cast<size_t>(layout.bytes));
  out = layout.header;
  for (const auto* named : layout.order) out += BytesOf(named->second);
  return out;
}

Status WriteSafetensorsFile(const std::string& path, const NamedTensors& tensors,
                            const Metadata& metadata) {
  SOTTO_ASSIGN_OR_RETURN(const Layout layout, LayOut(tensors, metadata));
  SOTTO_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Open(path));
  SOTTO_RETURN_IF_ERROR(writer.Append(layout.header));
  for (const auto* named : layout.order) {
    SOTTO_RETURN_IF_ERROR(writer.Append(BytesOf(named->second)));
  }
  return writer.Commit();
}

Status CheckShards(const ShardIndex& index,
                   const std::map<std::string, std::string, std::less<>>& file_of) {
  for (const auto& [name, file] : index.file_of) {
    const auto at = file_of.find(name);
    if (at == file_of.end() || at->second != file) {
      return InvalidFile(StrCat("the index says that tensor '", name, "' is in ", file,
                                ", but it is ",
                                at == file_of.end() ? "not there" : "in " + at->second));
    }
  }
  for (const auto& [name, file] : file_of) {
    if (!index.file_of.contains(name))
      return InvalidFile(StrCat("tensor '", name, "' of ", file, " is not in the index"));
  }
  return OkStatus();
}

Result<ShardIndex> ParseShardIndex(std::string_view text) {
  Result<Json> json = Json::Parse(text, {.max_depth = 3});
  if (!json.ok()) return json.status().In("the index of the shards");
  const Json& map = (*json)["weight_map"];
  if (!map.is_object() || map.members().empty()) {
    return InvalidFile("the index of the shards must have a 'weight_map' that names tensors");
  }
  ShardIndex index;
  for (const auto& [tensor, file] : map.members()) {
    SOTTO_RETURN_IF_ERROR(CheckName(tensor));
    const std::string& name = file.as_string();
    const std::string_view suffix = ".safetensors";
    if (!file.is_string() || name.empty()) {
      return InvalidFile(StrCat("the index names no file for tensor '", tensor, "'"));
    }
    if (name[0] == '.' || name.find_first_of("/\\:%?#") != std::string::npos ||
        name.find_first_of(std::string_view("\0\r\n", 3)) != std::string::npos) {
      return InvalidFile(StrCat("the index names the file ", file.Dump(),
                                ", which is not a plain name in the same folder"));
    }
    if (name.size() <= suffix.size() ||
        name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) {
      return InvalidFile(
          StrCat("the index names the file ", file.Dump(), ", which is not a .safetensors file"));
    }
    index.file_of.emplace(tensor, name);
    index.files.push_back(name);
  }
  HeapSort(index.files.begin(), index.files.end());
  index.files.erase(std::unique(index.files.begin(), index.files.end()), index.files.end());
  if (index.files.size() > ShardIndex::kMaxFiles) {
    return InvalidFile(StrCat("the index names ", index.files.size(), " files; at most ",
                              ShardIndex::kMaxFiles, " are allowed"));
  }
  return index;
}

}  // namespace sotto
