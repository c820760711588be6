#include "core/io/model_folder.h"

#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/io/gguf_model.h"

namespace sotto {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;
// The smallest page of any system: what a mapped file's last page holds past its end reads as zero.
constexpr size_t kPageBytes = 4096;

// Leaves the text empty where there is no such file.
Status ReadOptional(const std::string& path, uint64_t max_bytes, std::string& text) {
  if (!FileExists(path)) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(text, ReadFile(path, max_bytes));
  return OkStatus();
}

struct MappedFile {
  std::shared_ptr<const FileView> view;
  size_t readable_after;
};
Result<MappedFile> MapFile(const std::string& path) {
  SOTTO_ASSIGN_OR_RETURN(FileView opened, FileView::Open(path));
  const auto view = std::make_shared<const FileView>(std::move(opened));
  return MappedFile{view, (kPageBytes - view->bytes().size() % kPageBytes) % kPageBytes};
}

Status AddFile(const std::string& folder, const std::string& name, TensorSource& tensors) {
  SOTTO_ASSIGN_OR_RETURN(const MappedFile file, MapFile(folder + name));
  const std::string_view bytes = file.view->bytes();
  return tensors.AddArriving(bytes, bytes.size(), file.readable_after, file.view, name);
}

Status AddShards(const std::string& folder, TensorSource& tensors) {
  SOTTO_ASSIGN_OR_RETURN(const std::string text,
                         ReadFile(folder + "model.safetensors.index.json", kMaxIndexBytes));
  SOTTO_ASSIGN_OR_RETURN(const ShardIndex index, ParseShardIndex(text));
  for (const std::string& file : index.files) {
    SOTTO_RETURN_IF_ERROR(AddFile(folder, file, tensors));
  }
  return tensors.Check(index);
}

Status AddWeights(const std::string& folder, TensorSource& tensors) {
  if (FileExists(folder + "model.safetensors")) {
    return AddFile(folder, "model.safetensors", tensors);
  }
  if (FileExists(folder + "model.safetensors.index.json")) return AddShards(folder, tensors);
  for (const char* pickle : {"pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!FileExists(folder + pickle)) continue;
    return Unsupported(StrCat(
        folder, " has only ", pickle,
        ": PyTorch pickles can run code when they are read, so Sotto never reads them. Take the "
        "model's model.safetensors, or write one with transformers: "
        "AutoModel.from_pretrained(folder).save_pretrained(folder)"));
  }
  return NotFound(
      StrCat(folder, " has neither model.safetensors nor model.safetensors.index.json"));
}

Result<GgufHeader> ReadGgufHeader(std::string_view bytes) {
  SOTTO_ASSIGN_OR_RETURN(std::optional<GgufHeader> header, GgufHeader::Parse(bytes, bytes.size()));
  if (!header) return Internal("a whole file cannot need more bytes");
  return *std::move(header);
}

// All parts of the file at `path`, the one with the metadata first.
Result<std::vector<std::string>> GgufParts(const std::string& path, const GgufMetadata& metadata) {
  SOTTO_ASSIGN_OR_RETURN(const GgufSplit split, ReadGgufSplit(metadata));
  if (split.count == 1) return std::vector<std::string>{path};
  const size_t slash = path.rfind('/') + 1;  // npos + 1 is 0
  SOTTO_ASSIGN_OR_RETURN(std::vector<std::string> names,
                         GgufSplitNames(path.substr(slash), split.count));
  for (std::string& name : names) name.insert(0, path, 0, slash);
  return names;
}

Result<ModelFiles> OpenGguf(const std::string& path) {
  SOTTO_ASSIGN_OR_RETURN(const MappedFile opened, MapFile(path));
  const Result<GgufHeader> own = ReadGgufHeader(opened.view->bytes());
  if (!own.ok()) return own.status();
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> parts, GgufParts(path, own->metadata()));
  GgufMetadata metadata;
  std::vector<MappedFile> files;
  std::vector<TensorInfo> tensors;
  for (const std::string& part : parts) {
    SOTTO_ASSIGN_OR_RETURN(MappedFile file, MapFile(part));
    Result<GgufHeader> header = ReadGgufHeader(file.view->bytes());
    if (!header.ok()) return header.status().In(part);
    SOTTO_ASSIGN_OR_RETURN(const GgufSplit split, ReadGgufSplit(header->metadata()));
    if (split.count != static_cast<int>(parts.size()) ||
        split.index != static_cast<int>(files.size())) {
      return InvalidFile(StrCat(part, " says that it is part ", split.index + 1, " of ",
                                split.count, ", not ", files.size() + 1, " of ", parts.size()));
    }
    for (TensorInfo info : header->tensors()) {
      info.file = static_cast<uint32_t>(files.size());
      tensors.push_back(std::move(info));
    }
    if (files.empty()) metadata = std::move(header->metadata());
    files.push_back(std::move(file));
  }
  SOTTO_ASSIGN_OR_RETURN(const int64_t count,
                         metadata.IntOr("split.tensors.count", static_cast<int64_t>(tensors.size()),
                                        0, GgufHeader::kMaxTensors));
  if (count != static_cast<int64_t>(tensors.size())) {
    return InvalidFile(
        StrCat("the parts have ", tensors.size(), " tensors, but the first says ", count));
  }
  ModelFiles out;
  const GgufPeek peek = [&](const TensorInfo& tensor) {
    return files[tensor.file].view->bytes().substr(tensor.begin, tensor.end - tensor.begin);
  };
  SOTTO_ASSIGN_OR_RETURN(const bool whole, DescribeGguf(metadata, tensors, peek, out));
  if (!whole) return Internal("a whole file cannot need more bytes");
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<TensorInfo> here;
    for (TensorInfo& info : tensors) {
      if (info.file == i) here.push_back(std::move(info));
    }
    SOTTO_RETURN_IF_ERROR(out.tensors.AddTensors(std::move(here), files[i].view->bytes(),
                                                 files[i].readable_after, files[i].view, parts[i]));
  }
  return out;
}

}  // namespace

Result<ModelFiles> OpenModelFiles(const std::string& path) {
  if (!path.ends_with(".gguf")) return OpenModelFolder(path);
  Result<ModelFiles> files = OpenGguf(path);
  if (!files.ok()) return files.status().In(path);
  return files;
}

Result<ModelFiles> OpenModelFolder(const std::string& path) {
  const std::string folder = !path.empty() && path.back() == '/' ? path : path + "/";
  if (!FileExists(folder)) {
    return NotFound(FileExists(path)
                        ? StrCat(path, " is a file; the folder that holds it is needed")
                        : StrCat("there is no folder ", path));
  }
  if (!FileExists(folder + "config.json")) {
    return NotFound(StrCat(folder, " has no config.json, so it is not a model folder"));
  }
  ModelFiles files;
  SOTTO_RETURN_IF_ERROR(ReadModelTexts(folder, files));
  SOTTO_RETURN_IF_ERROR(AddWeights(folder, files.tensors));
  return files;
}

Status ReadModelTexts(const std::string& path, ModelFiles& files) {
  if (path.ends_with(".gguf")) {
    SOTTO_ASSIGN_OR_RETURN(files, OpenModelFiles(path));
    return OkStatus();
  }
  const std::string folder = !path.empty() && path.back() == '/' ? path : path + "/";
  const struct {
    const char* name;
    uint64_t max_bytes;
    std::string* text;
  } texts[] =
      {
          {"config.json", kMaxConfigBytes, &files.config},
          {"generation_config.json", kMaxConfigBytes, &files.generation_config},
          {"tokenizer.json", kMaxTokenizerBytes, &files.tokenizer},
          {"tokenizer_config.json", kMaxConfigBytes, &files.tokenizer_config},
          {"special_tokens_map.json", kMaxConfigBytes, &files.special_tokens_map},
          {"chat_template.jinja", kMaxConfigBytes, &files.chat_template},
      },
    older[] = {
        {"spiece.model", kMaxTokenizerBytes, &files.sentencepiece},
        {"sentencepiece.bpe.model", kMaxTokenizerBytes, &files.sentencepiece},
        {"sentencepiece.model", kMaxTokenizerBytes, &files.sentencepiece},
        {"spm.model", kMaxTokenizerBytes, &files.sentencepiece},
        {"tokenizer.model", kMaxTokenizerBytes, &files.sentencepiece},
        {"source.spm", kMaxTokenizerBytes, &files.sentencepiece},
        {"vocab.json", kMaxTokenizerBytes, &files.vocab},
        {"vocab.txt", kMaxTokenizerBytes, &files.vocab},
        {"merges.txt", kMaxTokenizerBytes, &files.merges},
        {"added_tokens.json", kMaxConfigBytes, &files.added_tokens},
    };
  for (const auto& text : texts) {
    SOTTO_RETURN_IF_ERROR(ReadOptional(folder + text.name, text.max_bytes, *text.text));
  }
  if (!files.tokenizer.empty()) return OkStatus();
  for (const auto& text : older) {
    if (!text.text->empty()) continue;  // the first of several names counts
    SOTTO_RETURN_IF_ERROR(ReadOptional(folder + text.name, text.max_bytes, *text.text));
  }
  return OkStatus();
}

}  // namespace sotto
