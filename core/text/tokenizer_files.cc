#include "core/text/tokenizer_files.h"

#include <algorithm>
#include <vector>

#include "core/text/ggml_tokenizer.h"

namespace sotto {
namespace {

// The classes that a folder may ask for without tokenizer.json, and the model types that go with
// them.
struct KnownClass {
  std::string_view name;
  std::vector<std::string_view> model_types;
};

const std::vector<KnownClass>& KnownClasses() {
  static const std::vector<KnownClass> classes = {
      {"AlbertTokenizer", {"albert"}},
      {"BartTokenizer", {"bart"}},
      {"BertTokenizer", {"bert", "nomic_bert"}},
      {"CamembertTokenizer", {"camembert"}},
      {"DebertaV2Tokenizer", {"deberta-v2"}},
      {"DistilBertTokenizer", {"distilbert"}},
      {"ElectraTokenizer", {"electra"}},
      {"GPT2Tokenizer", {"gpt2", "gpt_neo"}},
      {"GemmaTokenizer", {"gemma", "gemma2", "gemma3", "gemma3_text"}},
      {"LlamaTokenizer", {"llama", "mistral", "phi3"}},
      {"M2M100Tokenizer", {"m2m_100"}},
      {"MBart50Tokenizer", {}},
      {"MBartTokenizer", {"mbart"}},
      {"MPNetTokenizer", {"mpnet"}},
      {"MarianTokenizer", {"marian"}},
      {"NllbTokenizer", {}},
      {"PegasusTokenizer", {"pegasus"}},
      {"Qwen2Tokenizer", {"qwen2", "qwen3"}},
      {"RobertaTokenizer", {"roberta"}},
      {"T5Tokenizer", {"t5", "mt5", "umt5", "longt5"}},
      {"XGLMTokenizer", {"xglm"}},
      {"XLMRobertaTokenizer", {"xlm-roberta"}},
  };
  return classes;
}

}  // namespace

bool IsTokenizerClass(std::string_view name) {
  return std::any_of(KnownClasses().begin(), KnownClasses().end(),
                     [&](const KnownClass& c) { return c.name == name; });
}

std::string_view TokenizerClassOf(std::string_view model_type) {
  for (const KnownClass& known : KnownClasses()) {
    const auto& types = known.model_types;
    if (std::find(types.begin(), types.end(), model_type) != types.end()) return known.name;
  }
  return {};
}

Result<Tokenizer> OpenTokenizer(const TokenizerFiles& files) {
  const std::string_view name = TokenizerClassOf(files.model_type);
  if (!files.tokenizer.empty() && !IsGgmlTokenizer(files.tokenizer)) {
    return Tokenizer::FromJson(files.tokenizer, files.config, files.special_tokens_map,
                               files.chat_template, name);
  }
  SOTTO_ASSIGN_OR_RETURN(const std::string json, TokenizerJsonOf(files));
  return Tokenizer::FromJson(json, files.config, files.special_tokens_map, files.chat_template,
                             name);
}

}  // namespace sotto
