#include "core/text/ggml_tokenizer.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/text/byte_alphabet.h"
#include "core/text/split_pattern.h"
#include "core/text/tokenizer_json.h"

namespace sotto {
namespace {

using tokenizer_json::kBlank;
using tokenizer_json::Part;
using tokenizer_json::Sequence;

enum TokenType : uint8_t { kUndefined, kNormal, kUnknown, kControl, kUserDefined, kUnused, kByte };

// The patterns by which llama.cpp's pre-tokenizers cut one after another, as the models' own
// tokenizer.json files have them.
constexpr std::string_view kDigit = "\\p{N}";
constexpr std::string_view kDigits3 = "\\p{N}{1,3}";
constexpr std::string_view kFalconSigns = "[\\p{P}\\$\\+<=>\\^~\\|`]+";
constexpr std::string_view kAsciiDigits3 = "[0-9][0-9][0-9]";
constexpr std::string_view kIdeographs =
    "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)"
    R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kGpt4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen35 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|)"
    R"(\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct PreTokenizerKind {
  std::vector<std::string_view> names;
  std::vector<std::string_view> patterns;
  bool whole_words = false;  // a piece that is a token stays one, whatever the merges say
  bool add_bos = false;      // where the file does not say
  bool nfc = false;
};

const std::vector<PreTokenizerKind>& PreTokenizerKinds() {
  static const std::vector<PreTokenizerKind> kinds = {
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "lfm2"},
       {kLlama3Pattern},
       true,
       true,
       false},
      {{"dbrx", "smaug-bpe", "chatglm-bpe", "glm4"}, {kLlama3Pattern}, false, false, false},
      {{"qwen2", "deepseek-r1-qwen"}, {kQwen2Pattern}, false, false, true},
      {{"stablelm2"}, {kQwen2Pattern}, false, false, false},
      {{"qwen35"}, {kQwen35}, false, false, true},
      {{"gpt-2", "phi-2", "olmo", "jais", "mpt", "modern-bert", "roberta-bpe"},
       {kGpt2Pattern},
       false,
       false,
       false},
      {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"},
       {kDigit, kGpt2Pattern},
       false,
       false,
       false},
      {{"falcon"}, {kFalconSigns, kGpt2Pattern, kAsciiDigits3}, false, false, false},
      {{"deepseek-v3"}, {kDigits3, kIdeographs, kDeepSeek3}, false, false, false},
      {{"tekken"}, {kTekken}, true, true, false},
      {{"gpt-4o", "llama4"}, {kGpt4o}, false, false, false},
  };
  return kinds;
}

class Converter {
 public:
  explicit Converter(const Json& ggml) : ggml_(ggml), tokens_(ggml["tokens"].items()) {}

  Result<Json> Convert() {
    SOTTO_ASSIGN_OR_RETURN(const std::string model, ggml_.StringAt("model"));
    for (const Json& token : tokens_) {
      if (!token.is_string()) return InvalidFile("a token of the GGUF tokenizer is no string");
    }
    const size_t count = tokens_.size();
    for (const std::string_view column : {"scores", "types"}) {
      const size_t size = ggml_[column].items().size();
      if (size != 0 && size != count) {
        return InvalidFile(StrCat("the GGUF tokenizer's '", column, "' do not fit its tokens"));
      }
    }
    const auto limit = static_cast<int64_t>(count) - 1;
    for (const std::string_view role : {"bos", "eos", "unk", "sep", "pad", "cls", "mask"}) {
      if (!ggml_[role].is_null()) SOTTO_RETURN_IF_ERROR(ggml_.IntAt(role, 0, limit).status());
    }
    if (model == "llama") return Llama();
    if (model == "gpt2") return Gpt2();
    if (model == "bert") return Bert();
    if (model == "t5") return T5();
    if (model == "rwkv") return Rwkv();
    return Unsupported(StrCat("the GGUF tokenizer '", model, "'"));
  }

 private:
  int TypeOf(size_t id) const {
    const std::vector<Json>& types = ggml_["types"].items();
    return types.empty() ? kNormal : static_cast<int>(types[id].as_int());
  }
  double ScoreOf(size_t id) const { return ggml_["scores"].items()[id].as_number(); }
  const std::string& Text(size_t id) const { return tokens_[id].as_string(); }
  bool Has(std::string_view role) const { return ggml_[role].is_int(); }
  int64_t Id(std::string_view role) const { return ggml_[role].as_int(); }
  std::string Named(std::string_view role) const {
    return Has(role) ? Text(static_cast<size_t>(Id(role))) : std::string();
  }
  bool Flag(std::string_view name, bool fallback) const {
    return ggml_[name].is_bool() ? ggml_[name].as_bool() : fallback;
  }

  // {"token": id, ...}; of equal tokens the first counts.
  Json Vocabulary() const {
    std::vector<Json::Member> vocab;
    vocab.reserve(tokens_.size());
    for (size_t i = 0; i < tokens_.size(); ++i) {
      vocab.push_back({Text(i), Json::Int(static_cast<int64_t>(i))});
    }
    return Unique(std::move(vocab));
  }
  static Json Unique(std::vector<Json::Member> vocab) {
    std::vector<uint32_t> order(vocab.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return vocab[a].first < vocab[b].first; });
    std::vector<bool> drops(vocab.size());
    bool any = false;
    for (size_t i = 1; i < order.size(); ++i) {
      drops[order[i]] = vocab[order[i]].first == vocab[order[i - 1]].first;
      any = any || drops[order[i]];
    }
    if (!any) return Json::Object(std::move(vocab));
    std::vector<Json::Member> kept;
    for (size_t i = 0; i < vocab.size(); ++i) {
      if (!drops[i]) kept.push_back(std::move(vocab[i]));
    }
    return Json::Object(std::move(kept));
  }

  // Control, unknown and user-defined tokens, which are looked for in the raw text.
  std::vector<Json> AddedTokens() const {
    std::vector<Json> added;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const int type = TypeOf(i);
      if (Text(i).empty() || (type != kControl && type != kUnknown && type != kUserDefined))
        continue;
      added.push_back(tokenizer_json::AddedToken(static_cast<int64_t>(i), Text(i),
                                                 {.special = type != kUserDefined}));
    }
    return added;
  }

  // The tokens around a text, and a second one.
  Json Around(bool add_bos, bool add_eos, std::string_view first, std::string_view last) const {
    add_bos = Flag("add_bos_token", add_bos) && Has(first);
    add_eos = Flag("add_eos_token", add_eos) && Has(last);
    std::vector<std::pair<std::string, int64_t>> special;
    if (add_bos) special.push_back({"bos", Id(first)});
    if (add_eos) special.push_back({"eos", Id(last)});
    const std::string bos = add_bos ? "bos " : "", eos = add_eos ? " eos" : "";
    return tokenizer_json::Template(StrCat(bos, "$A", eos),
                                    StrCat(bos, "$A", eos, " ", bos, "$B", eos), special);
  }

  Result<Json> Llama() const {
    if (ggml_["scores"].items().empty()) {
      return InvalidFile("the GGUF tokenizer 'llama' lacks its scores");
    }
    const bool prefix = Flag("add_space_prefix", true);
    tokenizer_json::Members made;
    std::vector<Json::Member> model = {{"vocab", Vocabulary()},
                                       {"scores", ggml_["scores"]},
                                       {"fuse_unk", Json::Bool(true)},
                                       {"byte_fallback", Json::Bool(true)}};
    if (Has("unk")) model.push_back({"unk_token", Json::String(Named("unk"))});
    made.model = Part("BPE", std::move(model));
    std::vector<Json> normalizers;
    if (prefix)
      normalizers.push_back(Part("Prepend", {{"prepend", Json::String(std::string(kBlank))}}));
    normalizers.push_back(tokenizer_json::ReplaceString(" ", kBlank));
    made.normalizer = Sequence("normalizers", std::move(normalizers));
    made.decoder = tokenizer_json::BlankDecoder(true, prefix);
    made.post_processor = Around(true, false, "bos", "eos");
    made.added_tokens = AddedTokens();
    return tokenizer_json::Document(std::move(made));
  }

  Result<Json> Gpt2() const {
    const std::string& pre = ggml_["pre"].as_string();
    const PreTokenizerKind* kind = nullptr;
    for (const PreTokenizerKind& k : PreTokenizerKinds()) {
      if (std::find(k.names.begin(), k.names.end(), pre) != k.names.end()) kind = &k;
    }
    if (kind == nullptr) return Unsupported(StrCat("the GGUF pre-tokenizer '", pre, "'"));
    tokenizer_json::Members made;
    made.model = Part("BPE", {{"vocab", Vocabulary()},
                              {"merges", ggml_["merges"]},
                              {"ignore_merges", Json::Bool(kind->whole_words)}});
    std::vector<Json> steps;
    const bool is_gpt2 = kind->patterns.size() == 1 && kind->patterns[0] == kGpt2Pattern;
    for (const std::string_view pattern : kind->patterns) {
      if (!is_gpt2) steps.push_back(tokenizer_json::Split(pattern, "Isolated"));
    }
    steps.push_back(tokenizer_json::ByteLevel(Flag("add_space_prefix", false), true, is_gpt2));
    made.pre_tokenizer = Sequence("pretokenizers", std::move(steps));
    if (kind->nfc) made.normalizer = Part("NFC");
    made.decoder = tokenizer_json::ByteLevel(true, true, true);
    made.post_processor = Around(kind->add_bos, false, "bos", "eos");
    made.added_tokens = AddedTokens();
    return tokenizer_json::Document(std::move(made));
  }

  // llama.cpp spells the beginning of a word with U+2581 and a continuation with nothing, where
  // BERT has nothing and "##". Whether it lowercases the file does not say: a vocabulary without
  // capital letters does.
  Result<Json> Bert() const {
    const std::string first(Has("cls") ? "cls" : "bos"), last(Has("sep") ? "sep" : "eos");
    std::vector<Json::Member> vocab;
    std::vector<Json> added;
    bool capitals = false;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const std::string& token = Text(i);
      const bool bracketed = token.starts_with('[') && token.ends_with(']');
      std::string text = token;
      const bool plain = TypeOf(i) == kNormal && !bracketed;
      if (plain && token.starts_with(kBlank)) {
        text = token.substr(kBlank.size());
      } else if (plain) {
        text = StrCat("##", token);
      }
      capitals = capitals || (plain && std::any_of(text.begin(), text.end(),
                                                   [](char c) { return c >= 'A' && c <= 'Z'; }));
      const auto id = static_cast<int64_t>(i);
      bool has_role = false;
      for (const std::string_view role : {"unk", "sep", "pad", "cls", "mask"}) {
        has_role = has_role || (Has(role) && Id(role) == id);
      }
      if (has_role || TypeOf(i) == kControl) added.push_back(tokenizer_json::AddedToken(id, text));
      vocab.push_back({std::move(text), Json::Int(id)});
    }
    tokenizer_json::Members made;
    made.model =
        Part("WordPiece", {{"unk_token", Json::String(Has("unk") ? Named("unk") : "[UNK]")},
                           {"continuing_subword_prefix", Json::String("##")},
                           {"max_input_chars_per_word", Json::Int(100)},
                           {"vocab", Unique(std::move(vocab))}});
    made.normalizer = Part("BertNormalizer", {{"clean_text", Json::Bool(true)},
                                              {"handle_chinese_chars", Json::Bool(true)},
                                              {"lowercase", Json::Bool(!capitals)}});
    made.pre_tokenizer = Part("BertPreTokenizer");
    made.decoder =
        Part("WordPiece", {{"prefix", Json::String("##")}, {"cleanup", Json::Bool(true)}});
    if (Has(first) && Has(last)) {
      made.post_processor = tokenizer_json::Template("cls $A sep", "cls $A sep $B:1 sep:1",
                                                     {{"cls", Id(first)}, {"sep", Id(last)}});
    }
    made.added_tokens = std::move(added);
    return tokenizer_json::Document(std::move(made));
  }

  Result<Json> T5() const {
    if (ggml_["scores"].items().empty()) {
      return InvalidFile("the GGUF tokenizer 't5' lacks its scores");
    }
    std::vector<Json> pieces;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (TypeOf(i) != kNormal && TypeOf(i) != kUserDefined) continue;
      pieces.push_back(Json::Array({tokens_[i], Json::Number(ScoreOf(i))}));
    }
    std::string charsmap;
    for (const Json& byte : ggml_["charsmap"].items()) {
      charsmap.push_back(static_cast<char>(byte.as_int()));
    }
    const bool prefix = Flag("add_space_prefix", true);
    tokenizer_json::Members made;
    std::vector<Json::Member> model = {{"vocab", Vocabulary()},
                                       {"pieces", Json::Array(std::move(pieces))}};
    if (Has("unk")) model.push_back({"unk_id", Json::Int(Id("unk"))});
    made.model = Part("Unigram", std::move(model));
    made.normalizer = Part(
        "SentencePiece",
        {{"precompiled_charsmap", tokenizer_json::Precompiled(charsmap)["precompiled_charsmap"]},
         {"add_dummy_prefix", Json::Bool(prefix)},
         {"remove_extra_whitespaces", Json::Bool(Flag("remove_extra_whitespaces", true))},
         {"escape_whitespaces", Json::Bool(true)}});
    made.decoder = tokenizer_json::BlankDecoder(false, prefix);
    made.post_processor = Around(false, true, "bos", "eos");
    made.added_tokens = AddedTokens();
    return tokenizer_json::Document(std::move(made));
  }

  // Tokens are bytes, with backslashes for those that are not text.
  Result<Json> Rwkv() const {
    std::vector<Json::Member> vocab;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const std::string& text = Text(i);
      std::string bytes, letters;
      for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\' || at + 1 == text.size()) {
          bytes.push_back(text[at]);
          continue;
        }
        const char c = text[++at];
        if (c != 'x') {
          bytes.push_back(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c);
          continue;
        }
        int value = 0;
        for (int digit = 0; digit < 2; ++digit) {
          const char h = ++at < text.size() ? text[at] : ' ';
          const char lower = static_cast<char>(h | 32);
          const bool decimal = h >= '0' && h <= '9';
          if (!decimal && (lower < 'a' || lower > 'f')) {
            return InvalidFile(
                StrCat("token ", i, " of the GGUF tokenizer 'rwkv' has a broken \\x"));
          }
          value = value * 16 + (decimal ? h - '0' : lower - 'a' + 10);
        }
        bytes.push_back(static_cast<char>(value));
      }
      AppendByteLetters(letters, bytes);
      vocab.push_back({std::move(letters), Json::Int(static_cast<int64_t>(i))});
    }
    tokenizer_json::Members made;
    std::vector<Json::Member> model = {{"vocab", Unique(std::move(vocab))}};
    if (Has("unk")) model.push_back({"unk_id", Json::Int(Id("unk"))});
    made.model = Part("RWKV", std::move(model));
    made.pre_tokenizer = tokenizer_json::ByteLevel(false, true, false);
    made.decoder = tokenizer_json::ByteLevel(true, true, true);
    made.post_processor = Around(false, false, "bos", "eos");
    return tokenizer_json::Document(std::move(made));
  }

  const Json& ggml_;
  const std::vector<Json>& tokens_;
};

}  // namespace

Result<Json> GgmlTokenizer(const Json& ggml) { return Converter(ggml).Convert(); }

}  // namespace sotto
