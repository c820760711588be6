#include "core/io/model_folder.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/io/gguf_model.h"

namespace sotto {
namespace {

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{64} << 20;
constexpr size_t kMaxModules = 64;
// The settings of sentence-transformers, whose file's name told once what the model was.
constexpr const char* kSentenceTexts[] = {
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
};
constexpr std::string_view kChatTemplateJson = "chat_template.json";

struct ModelText {
  std::string_view name;
  uint64_t max_bytes;
  std::string ModelFiles::* field;
  bool older = false;  // of a tokenizer without tokenizer.json
};
constexpr ModelText kTexts[] = {
    {"config.json", kMaxConfigBytes, &ModelFiles::config},
    {"generation_config.json", kMaxConfigBytes, &ModelFiles::generation_config},
    {"tokenizer.json", kMaxTokenizerBytes, &ModelFiles::tokenizer},
    {"tokenizer_config.json", kMaxConfigBytes, &ModelFiles::tokenizer_config},
    {"special_tokens_map.json", kMaxConfigBytes, &ModelFiles::special_tokens_map},
    {"chat_template.jinja", kMaxConfigBytes, &ModelFiles::chat_template},
    {"spiece.model", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"sentencepiece.bpe.model", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"sentencepiece.model", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"spm.model", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"tokenizer.model", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"source.spm", kMaxTokenizerBytes, &ModelFiles::sentencepiece, true},
    {"vocab.json", kMaxTokenizerBytes, &ModelFiles::vocab, true},
    {"vocab.txt", kMaxTokenizerBytes, &ModelFiles::vocab, true},
    {"merges.txt", kMaxTokenizerBytes, &ModelFiles::merges, true},
    {"added_tokens.json", kMaxConfigBytes, &ModelFiles::added_tokens, true},
};

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
  return tensors.AddArriving(bytes, bytes.size(), file.readable_after, file.view, name,
                             /*mapped=*/true);
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
Result<std::vector<std::string>> PartPaths(const std::string& path, const GgufMetadata& metadata) {
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
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> parts, PartPaths(path, own->metadata()));
  GgufParts headers;
  std::vector<MappedFile> files;
  for (const std::string& part : parts) {
    SOTTO_ASSIGN_OR_RETURN(MappedFile file, MapFile(part));
    Result<GgufHeader> header = ReadGgufHeader(file.view->bytes());
    if (!header.ok()) return header.status().In(part);
    SOTTO_RETURN_IF_ERROR(headers.Add(*std::move(header)).In(part));
    files.push_back(std::move(file));
  }
  SOTTO_RETURN_IF_ERROR(headers.Check());
  std::vector<TensorInfo> tensors = headers.tensors();
  ModelFiles out;
  const GgufPeek peek = [&](const TensorInfo& tensor) {
    return files[tensor.file].view->bytes().substr(tensor.begin, tensor.end - tensor.begin);
  };
  SOTTO_ASSIGN_OR_RETURN(const bool whole, DescribeGguf(headers.metadata(), tensors, peek, out));
  if (!whole) return Internal("a whole file cannot need more bytes");
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<TensorInfo> here;
    for (TensorInfo& info : tensors) {
      if (info.file == i) here.push_back(std::move(info));
    }
    SOTTO_RETURN_IF_ERROR(out.tensors.AddTensors(std::move(here), files[i].view->bytes(),
                                                 files[i].readable_after, files[i].view, parts[i],
                                                 /*mapped=*/true));
  }
  return out;
}

Status AddSentenceModules(const std::string& folder, ModelFiles& files) {
  const auto add = [&](const std::string& name) -> Status {
    std::string text;
    SOTTO_RETURN_IF_ERROR(ReadOptional(folder + name, kMaxConfigBytes, text));
    if (!text.empty()) files.SetText(name, std::move(text));
    return OkStatus();
  };
  for (const char* name : kSentenceTexts) SOTTO_RETURN_IF_ERROR(add(name));
  const auto listed = files.sentence_texts.find("modules.json");
  if (listed == files.sentence_texts.end()) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(const std::vector<SentenceModule> modules, ParseModules(listed->second));
  for (const SentenceModule& module : modules) {
    if (module.path.empty()) continue;
    SOTTO_RETURN_IF_ERROR(add(module.path + "/config.json"));
    const std::string weights = module.path + "/model.safetensors";
    if (FileExists(folder + weights))
      SOTTO_RETURN_IF_ERROR(AddFile(folder, weights, files.sentence_tensors[module.path]));
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<SentenceModule>> ParseModules(std::string_view modules_json) {
  const Result<Json> json = Json::Parse(modules_json);
  if (!json.ok()) return json.status().In("modules.json");
  if (json->items().empty() || json->items().size() > kMaxModules)
    return InvalidFile(StrCat("modules.json must be a list of 1 to ", kMaxModules, " modules"));
  std::vector<SentenceModule> modules;
  for (const Json& item : json->items()) {
    const std::string &type = item["type"].as_string(), &path = item["path"].as_string();
    if (type.empty() || !item["path"].is_string() || path == "." || path == ".." ||
        path.find_first_of("/\\") != path.npos) {
      return InvalidFile(StrCat("modules.json: module ", modules.size(),
                                " must have a type, and a path that is a folder beside it"));
    }
    modules.push_back({type, path});
  }
  return modules;
}

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
  SOTTO_RETURN_IF_ERROR(AddSentenceModules(folder, files));
  return files;
}

bool ModelFiles::SetText(std::string_view name, std::string text) {
  const ModelText* const known = std::find_if(std::begin(kTexts), std::end(kTexts),
                                              [&](const ModelText& t) { return t.name == name; });
  const bool listed = known != std::end(kTexts);
  if (!listed || known->field != &ModelFiles::sentencepiece) {
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    if (!IsValidUtf8(text)) text = ReplaceInvalidUtf8(text);
  }
  if (listed) {
    this->*known->field = std::move(text);
    return true;
  }
  if (name == kChatTemplateJson) {  // as processors have it; the other file wins
    const Result<Json> json = Json::Parse(text);
    if (json.ok() && chat_template.empty()) chat_template = (*json)["chat_template"].as_string();
    return true;
  }
  const bool of_sentences = std::find(std::begin(kSentenceTexts), std::end(kSentenceTexts), name) !=
                                std::end(kSentenceTexts) ||
                            name.ends_with("/config.json");
  if (of_sentences) sentence_texts.insert_or_assign(std::string(name), std::move(text));
  return of_sentences;
}

Status ReadModelTexts(const std::string& path, ModelFiles& files) {
  if (path.ends_with(".gguf")) {  // the first file has them
    SOTTO_ASSIGN_OR_RETURN(const MappedFile file, MapFile(path));
    const Result<GgufHeader> header = ReadGgufHeader(file.view->bytes());
    if (!header.ok()) return header.status().In(path);
    return DescribeGgufTokenizer(header->metadata(), files).In(path);
  }
  const std::string folder = !path.empty() && path.back() == '/' ? path : path + "/";
  for (const ModelText& text : kTexts) {
    // The older files of a tokenizer count where there is no newer one, and the first of several.
    if (text.older && (!files.tokenizer.empty() || !(files.*text.field).empty())) continue;
    SOTTO_RETURN_IF_ERROR(
        ReadOptional(StrCat(folder, text.name), text.max_bytes, files.*text.field));
  }
  std::string more;
  SOTTO_RETURN_IF_ERROR(ReadOptional(StrCat(folder, kChatTemplateJson), kMaxConfigBytes, more));
  if (!more.empty()) files.SetText(kChatTemplateJson, std::move(more));
  return OkStatus();
}

std::vector<std::string> ModelTextNames(const ModelFiles& files) {
  std::vector<std::string> names(std::begin(kSentenceTexts), std::end(kSentenceTexts));
  for (const ModelText& text : kTexts) names.emplace_back(text.name);
  names.emplace_back(kChatTemplateJson);
  for (const auto& [name, text] : files.sentence_texts) {
    if (name.find('/') != name.npos) names.push_back(name);
  }
  return names;
}

}  // namespace sotto
