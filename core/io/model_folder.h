// A model's files, opened as they are: a Hugging Face folder, or a GGUF file in the same terms. The
// texts that describe the model, and its tensors. In the browser the same ModelFiles is filled from
// memory. What the texts mean is not known here.
#ifndef SOTTO_CORE_IO_MODEL_FOLDER_H_
#define SOTTO_CORE_IO_MODEL_FOLDER_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/status.h"
#include "core/io/tensor_source.h"

namespace sotto {

// Each text is empty where the folder has no such file.
struct ModelFiles {
  // Takes the text in a file of that name: of a folder ("1_Pooling/config.json") where it is in
  // one. False for a file that holds none of a model's texts. As in a browser, a byte order mark is
  // dropped, and what is not UTF-8 becomes U+FFFD (but a SentencePiece model is no text).
  bool SetText(std::string_view name, std::string text);

  std::string config;              // config.json
  std::string generation_config;   // generation_config.json
  std::string tokenizer;           // tokenizer.json
  std::string tokenizer_config;    // tokenizer_config.json
  std::string special_tokens_map;  // special_tokens_map.json
  std::string chat_template;       // chat_template.jinja, or what chat_template.json holds
  // Without tokenizer.json, what one is made from (see core/text/tokenizer_files.h).
  std::string sentencepiece;  // spiece.model, sentencepiece.bpe.model, tokenizer.model, source.spm
  std::string vocab;          // vocab.json or vocab.txt
  std::string merges;         // merges.txt
  std::string added_tokens;   // added_tokens.json
  TensorSource tensors;       // model.safetensors, or the files of model.safetensors.index.json
  // What sentence-transformers puts beside, by its path in the folder: modules.json,
  // sentence_bert_config.json, config_sentence_transformers.json and the modules' config.json; and
  // their model.safetensors, by their folder.
  std::map<std::string, std::string, std::less<>> sentence_texts;
  std::map<std::string, TensorSource, std::less<>> sentence_tensors;
};

// One line of modules.json: a class, and the folder of its files ("": the model's own).
struct SentenceModule {
  std::string type, path;
};
Result<std::vector<SentenceModule>> ParseModules(std::string_view modules_json);

// A folder, or a .gguf file (of several parts the first, or any).
Result<ModelFiles> OpenModelFiles(const std::string& path);

// Maps the weights into memory. A folder without config.json or safetensors is an error that says
// what is missing; pytorch_model.bin is never read.
Result<ModelFiles> OpenModelFolder(const std::string& path);

// The names of all files that may hold a text of this model, to copy them.
std::vector<std::string> ModelTextNames(const ModelFiles& files);

// Only the texts of a folder, each of which may be missing; of a .gguf file those of its tokenizer,
// which may be all that the file has.
Status ReadModelTexts(const std::string& path, ModelFiles& files);

}  // namespace sotto

#endif  // SOTTO_CORE_IO_MODEL_FOLDER_H_
