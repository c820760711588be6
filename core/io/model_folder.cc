#include "core/io/model_folder.h"

#include <memory>
#include <string_view>
#include <utility>

#include "core/base/file.h"

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

Status AddFile(const std::string& folder, const std::string& name, TensorSource& tensors) {
  SOTTO_ASSIGN_OR_RETURN(FileView opened, FileView::Open(folder + name));
  const auto view = std::make_shared<const FileView>(std::move(opened));
  const std::string_view bytes = view->bytes();
  const size_t readable_after = (kPageBytes - bytes.size() % kPageBytes) % kPageBytes;
  return tensors.AddArriving(bytes, bytes.size(), readable_after, view, name);
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

}  // namespace

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
  const struct {
    const char* name;
    uint64_t max_bytes;
    std::string* text;
  } texts[] = {
      {"config.json", kMaxConfigBytes, &files.config},
      {"generation_config.json", kMaxConfigBytes, &files.generation_config},
      {"tokenizer.json", kMaxTokenizerBytes, &files.tokenizer},
      {"tokenizer_config.json", kMaxConfigBytes, &files.tokenizer_config},
      {"special_tokens_map.json", kMaxConfigBytes, &files.special_tokens_map},
      {"chat_template.jinja", kMaxConfigBytes, &files.chat_template},
  };
  for (const auto& text : texts) {
    SOTTO_RETURN_IF_ERROR(ReadOptional(folder + text.name, text.max_bytes, *text.text));
  }
  SOTTO_RETURN_IF_ERROR(AddWeights(folder, files.tensors));
  return files;
}

}  // namespace sotto
