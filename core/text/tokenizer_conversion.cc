#include "core/text/tokenizer_files.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/text/ggml_tokenizer.h"
#include "core/text/sentencepiece.h"
#include "core/text/split_pattern.h"
#include "core/text/tokenizer_json.h"

namespace sotto {
namespace {

using tokenizer_json::Flags;
using tokenizer_json::Part;
using tokenizer_json::Sequence;
using tokenizer_json::Template;

// Names that mean the same.
std::string_view Canonical(std::string_view name) {
  if (name.ends_with("Fast")) name.remove_suffix(4);
  static constexpr std::string_view kSame[][2] = {{"CodeLlamaTokenizer", "LlamaTokenizer"},
                                                  {"MT5Tokenizer", "T5Tokenizer"},
                                                  {"Phi3Tokenizer", "LlamaTokenizer"}};
  for (const auto& [from, to] : kSame) {
    if (name == from) return to;
  }
  return name;
}

Result<std::string_view> ClassOf(std::string_view configured, const TokenizerFiles& files) {
  const std::string_view name = Canonical(configured);
  if (IsTokenizerClass(name)) return name;
  // These name no vocabulary's kind.
  const bool says_nothing =
      name.empty() || name == "PreTrainedTokenizer" || name == "AutoTokenizer";
  if (!says_nothing)
    return Unsupported(StrCat("the tokenizer class '", name, "' without tokenizer.json"));
  const std::string_view usual = TokenizerClassOf(files.model_type);
  if (!usual.empty()) return usual;
  return Unsupported(
      StrCat("a folder without tokenizer.json whose tokenizer_config.json names no class",
             files.model_type.empty() ? "" : " (model type ", files.model_type,
             files.model_type.empty() ? "" : ")"));
}

// What a class calls its special tokens; null where it has none. Names in the config go first.
struct SpecialNames {
  const char *bos = nullptr, *eos = nullptr, *unk = nullptr, *sep = nullptr, *pad = nullptr,
             *cls = nullptr, *mask = nullptr;
};
constexpr const char* kRoles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                  "pad_token", "cls_token", "mask_token"};

// A vocabulary under way to a tokenizer.json, with the tokens that are added to it.
class Draft {
 public:
  Draft(const Json& config, const Json& special_tokens_map, SpecialNames names)
      : config_(config), special_tokens_map_(special_tokens_map) {
    const char* defaults[] = {names.bos, names.eos, names.unk, names.sep,
                              names.pad, names.cls, names.mask};
    for (size_t i = 0; i < std::size(kRoles); ++i) {
      if (defaults[i] != nullptr) roles_[i] = defaults[i];
      for (const Json* file : {&special_tokens_map_, &config_}) {
        const Json& value = (*file)[kRoles[i]];
        const std::string& text =
            value.is_object() ? value["content"].as_string() : value.as_string();
        if (!text.empty()) roles_[i] = text;
      }
    }
  }

  const std::string& bos() const { return roles_[0]; }
  const std::string& eos() const { return roles_[1]; }
  const std::string& unk() const { return roles_[2]; }
  const std::string& sep() const { return roles_[3]; }
  const std::string& pad() const { return roles_[4]; }
  const std::string& cls() const { return roles_[5]; }
  const std::string& mask() const { return roles_[6]; }

  // A token of the vocabulary has `id`.
  void Know(const std::string& token, int64_t id) {
    ids_.push_back({token, id});
    limit_ = std::max(limit_, id + 1);
  }
  // All are known; looking up may begin.
  void Finish() {
    std::stable_sort(ids_.begin(), ids_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  // The id of a token, or -1.
  int64_t IdOf(std::string_view token) const {
    for (const Added& a : added_) {
      if (a.text == token) return a.id;
    }
    const auto after =
        std::upper_bound(ids_.begin(), ids_.end(), token,
                         [](std::string_view t, const auto& e) { return t < e.first; });
    return after != ids_.begin() && std::prev(after)->first == token ? std::prev(after)->second
                                                                     : -1;
  }
  // Makes a token one that is looked for in the raw text. One that is new gets the next id, or
  // `id`.
  void Add(const std::string& token, Flags flags, int64_t id = -1) {
    if (token.empty()) return;
    for (Added& a : added_) {
      if (a.text != token) continue;
      a.flags = flags;
      return;
    }
    const int64_t known = IdOf(token);
    if (known >= 0) id = known;
    if (id < 0) id = limit_;
    limit_ = std::max(limit_, id + 1);
    added_.push_back({token, flags, id});
  }
  // What the config and its companions say: tokens with their ids, the roles, and further ones.
  Status AddConfigured(const Json& added_tokens) {
    std::vector<std::pair<int64_t, const Json*>> decoder;
    for (const Json::Member& member : config_["added_tokens_decoder"].members()) {
      const Result<Json> id = Json::Parse(member.first);
      if (!id.ok() || !id->is_int() || id->as_int() < 0 || id->as_int() > kMaxId) {
        return InvalidFile(StrCat("'", member.first, "' of 'added_tokens_decoder' is no token id"));
      }
      decoder.push_back({id->as_int(), &member.second});
    }
    std::sort(decoder.begin(), decoder.end());
    for (const auto& [id, token] : decoder) {
      SOTTO_ASSIGN_OR_RETURN(const std::string content, token->StringAt("content"));
      SOTTO_ASSIGN_OR_RETURN(const bool special, token->BoolOr("special", false));
      SOTTO_ASSIGN_OR_RETURN(const bool lstrip, token->BoolOr("lstrip", false));
      SOTTO_ASSIGN_OR_RETURN(const bool normalized, token->BoolOr("normalized", !special));
      Add(content, {.special = special, .lstrip = lstrip, .normalized = normalized}, id);
    }
    std::vector<std::pair<int64_t, std::string>> listed;
    for (const Json::Member& member : added_tokens.members()) {
      SOTTO_ASSIGN_OR_RETURN(const int64_t id, added_tokens.IntAt(member.first, 0, kMaxId));
      listed.push_back({id, member.first});
    }
    std::sort(listed.begin(), listed.end());
    for (const auto& [id, content] : listed) {
      if (!IsAdded(content)) Add(content, {.special = false, .normalized = true}, id);
    }
    for (size_t i = 0; i < std::size(kRoles); ++i) {
      const bool said = std::any_of(decoder.begin(), decoder.end(), [&](const auto& entry) {
        return (*entry.second)["content"].as_string() == roles_[i];
      });
      if (said && IsAdded(roles_[i], true)) continue;
      Add(roles_[i], {.lstrip = roles_[i] == mask() && mask_takes_blanks});
    }
    for (const Json* file : {&config_, &special_tokens_map_}) {
      for (const Json& token : (*file)["additional_special_tokens"].items()) {
        const std::string& content =
            token.is_object() ? token["content"].as_string() : token.as_string();
        if (!IsAdded(content, true)) Add(content, {});
      }
    }
    return OkStatus();
  }
  bool mask_takes_blanks = false;

  std::vector<Json> AddedTokens() const {
    std::vector<Json> list;
    for (const Added& a : added_) {
      list.push_back(tokenizer_json::AddedToken(a.id, a.text, a.flags));
    }
    return list;
  }
  // A template; special tokens that there are not drop out.
  Json Around(const std::vector<std::string>& single, const std::vector<std::string>& pair) const {
    std::vector<std::pair<std::string, int64_t>> special;
    const auto join = [&](const std::vector<std::string>& words) {
      std::string text;
      for (const std::string& word : words) {
        std::string name = word;
        if (name.size() > 2 && name[name.size() - 2] == ':') name.resize(name.size() - 2);
        if (name.empty()) continue;
        if (name != "$A" && name != "$B") {
          const int64_t id = IdOf(name);
          if (id < 0) continue;
          const std::pair<std::string, int64_t> entry(name, id);
          if (std::find(special.begin(), special.end(), entry) == special.end()) {
            special.push_back(entry);
          }
        }
        text += word + " ";
      }
      return text;
    };
    const std::string first = join(single), second = join(pair);
    return Template(first, second, special);
  }

 private:
  static constexpr int64_t kMaxId = 1 << 22;
  struct Added {
    std::string text;
    Flags flags;
    int64_t id;
  };
  bool IsAdded(std::string_view token, bool as_special = false) const {
    return std::any_of(added_.begin(), added_.end(), [&](const Added& a) {
      return a.text == token && (a.flags.special || !as_special);
    });
  }

  const Json& config_;
  const Json& special_tokens_map_;
  std::string roles_[std::size(kRoles)];
  std::vector<std::pair<std::string, int64_t>> ids_;
  std::vector<Added> added_;
  int64_t limit_ = 0;
};

struct Source {
  std::string_view name;  // the class
  Json config, special_tokens_map, added_tokens;
};

// ---- SentencePiece ----------------------------------------------------------------------------

using PieceType = SentencePieceModel::PieceType;
using Scored = std::vector<std::pair<std::string, double>>;

constexpr std::string_view kMBartLanguages =
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT "
    "lv_LV "
    "my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN";
constexpr std::string_view kMBart50Languages =
    "af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF "
    "pt_XX "
    "sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI";
constexpr std::string_view kM2M100Languages =
    "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu "
    "ha he "
    "hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne "
    "nl "
    "no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo "
    "xh yi "
    "yo zh zu";

std::vector<std::string> Words(std::string_view list) {
  std::vector<std::string> words;
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(' ', at), list.size());
    if (end > at) words.emplace_back(list.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

SpecialNames NamesOf(std::string_view name) {
  if (name == "T5Tokenizer" || name == "PegasusTokenizer") {
    return {.eos = "</s>",
            .unk = "<unk>",
            .pad = "<pad>",
            .mask = name == "PegasusTokenizer" ? "<mask_2>" : nullptr};
  }
  if (name == "AlbertTokenizer") {
    return {.bos = "[CLS]",
            .eos = "[SEP]",
            .unk = "<unk>",
            .sep = "[SEP]",
            .pad = "<pad>",
            .cls = "[CLS]",
            .mask = "[MASK]"};
  }
  if (name == "DebertaV2Tokenizer") {
    return {.bos = "[CLS]",
            .eos = "[SEP]",
            .unk = "[UNK]",
            .sep = "[SEP]",
            .pad = "[PAD]",
            .cls = "[CLS]",
            .mask = "[MASK]"};
  }
  if (name == "LlamaTokenizer") return {.bos = "<s>", .eos = "</s>", .unk = "<unk>"};
  if (name == "GemmaTokenizer") {
    return {.bos = "<bos>", .eos = "<eos>", .unk = "<unk>", .pad = "<pad>"};
  }
  if (name == "MarianTokenizer") return {.eos = "</s>", .unk = "<unk>", .pad = "<pad>"};
  if (name == "XGLMTokenizer" || name == "M2M100Tokenizer") {
    return {.bos = "<s>", .eos = "</s>", .unk = "<unk>", .sep = "</s>", .pad = "<pad>"};
  }
  return {.bos = "<s>",
          .eos = "</s>",
          .unk = "<unk>",
          .sep = "</s>",
          .pad = "<pad>",
          .cls = "<s>",
          .mask = "<mask>"};
}

class SpmConverter {
 public:
  SpmConverter(const SentencePieceModel& model, const Source& source)
      : model_(model),
        source_(source),
        name_(source.name),
        draft_(source.config, source.special_tokens_map, NamesOf(source.name)) {}

  Result<Json> Convert() {
    SOTTO_RETURN_IF_ERROR(ReadSettings());
    SOTTO_RETURN_IF_ERROR(LayOut());
    for (size_t i = 0; i < vocab_.size(); ++i) {
      draft_.Know(vocab_[i].first, static_cast<int64_t>(i));
    }
    draft_.Finish();
    for (const SentencePieceModel::Piece& p : model_.pieces) {
      if (p.type != PieceType::kControl && p.type != PieceType::kUserDefined) continue;
      const bool turn =
          name_ == "GemmaTokenizer" && (p.text == "<start_of_turn>" || p.text == "<end_of_turn>");
      draft_.Add(p.text, {.special = p.type == PieceType::kControl || turn});
    }
    draft_.mask_takes_blanks = name_ != "DebertaV2Tokenizer" && name_ != "PegasusTokenizer";
    SOTTO_RETURN_IF_ERROR(draft_.AddConfigured(source_.added_tokens));
    for (const std::string& token : extra_) draft_.Add(token, {});
    tokenizer_json::Members made;
    SOTTO_ASSIGN_OR_RETURN(made.model, MakeModel());
    made.normalizer = MakeNormalizer();
    made.pre_tokenizer = MakePreTokenizer();
    made.decoder = MakeDecoder();
    made.post_processor = MakePostProcessor();
    made.added_tokens = draft_.AddedTokens();
    return tokenizer_json::Document(std::move(made));
  }

 private:
  Status ReadSettings() {
    const Json& c = source_.config;
    SOTTO_ASSIGN_OR_RETURN(const bool legacy, c.BoolOr("legacy", true));
    SOTTO_ASSIGN_OR_RETURN(const bool prefix, c.BoolOr("add_prefix_space", true));
    legacy_ = legacy;
    prefix_ = prefix;
    scheme_ = !prefix ? "never" : legacy ? "always" : "first";
    const bool is_albert = name_ == "AlbertTokenizer";
    SOTTO_ASSIGN_OR_RETURN(lowercase_, c.BoolOr("do_lower_case", is_albert));
    SOTTO_ASSIGN_OR_RETURN(keep_accents_, c.BoolOr("keep_accents", false));
    SOTTO_ASSIGN_OR_RETURN(split_by_punct_, c.BoolOr("split_by_punct", false));
    SOTTO_ASSIGN_OR_RETURN(add_bos_, c.BoolOr("add_bos_token", true));
    SOTTO_ASSIGN_OR_RETURN(add_eos_, c.BoolOr("add_eos_token", false));
    SOTTO_ASSIGN_OR_RETURN(extra_ids_, c.IntOr("extra_ids", 100, 0, 10000));
    SOTTO_ASSIGN_OR_RETURN(offset_, c.IntOr("offset", 103, 0, 10000));
    const bool mbart = name_ == "MBartTokenizer" || name_ == "MBart50Tokenizer";
    SOTTO_ASSIGN_OR_RETURN(language_, c.StringOr("src_lang", mbart ? "en_XX" : "eng_Latn"));
    SOTTO_ASSIGN_OR_RETURN(legacy_languages_, c.BoolOr("legacy_behaviour", false));
    return OkStatus();
  }

  void AppendPieces(size_t from) {
    for (size_t i = from; i < model_.pieces.size(); ++i) {
      vocab_.push_back({model_.pieces[i].text, model_.pieces[i].score});
    }
  }

  // Which tokens have which ids.
  Status LayOut() {
    unknown_ = model_.unknown_id;
    const bool fairseq = name_ == "XLMRobertaTokenizer" || name_ == "MBartTokenizer" ||
                         name_ == "MBart50Tokenizer" || name_ == "NllbTokenizer" ||
                         name_ == "XGLMTokenizer";
    if (model_.pieces.size() < 3) return InvalidFile("the SentencePiece model has only two pieces");
    if (fairseq) {
      vocab_ = {{"<s>", 0}, {"<pad>", 0}, {"</s>", 0}, {"<unk>", 0}};
      AppendPieces(3);
      if (name_ == "XGLMTokenizer") {
        for (int i = 0; i < 7; ++i) vocab_.push_back({StrCat("<madeupword", i, ">"), 0});
      } else if (name_ == "MBartTokenizer" || name_ == "MBart50Tokenizer") {
        for (const std::string& code : Words(kMBartLanguages)) vocab_.push_back({code, 0});
        if (name_ == "MBart50Tokenizer") {
          for (const std::string& code : Words(kMBart50Languages)) vocab_.push_back({code, 0});
        }
        for (size_t i = vocab_.size(); i > 0 && vocab_[i - 1].first[2] == '_'; --i) {
          extra_.insert(extra_.begin(), vocab_[i - 1].first);
        }
      }
      if (name_ != "XGLMTokenizer" && name_ != "NllbTokenizer") vocab_.push_back({"<mask>", 0});
      unknown_ = 3;
    } else if (name_ == "CamembertTokenizer") {
      vocab_ = {{"<s>NOTUSED", 0},
                {"<pad>", 0},
                {"</s>NOTUSED", 0},
                {"<unk>", 0},
                {"<unk>NOTUSED", -100}};
      AppendPieces(1);
      vocab_.push_back({"<mask>", 0});
      unknown_ = 3;
    } else if (name_ == "PegasusTokenizer") {
      vocab_ = {{draft_.pad(), 0}, {draft_.eos(), 0}};
      if (offset_ >= 4) {
        vocab_.push_back({"<mask_1>", 0});
        vocab_.push_back({draft_.mask(), 0});
        extra_.push_back("<mask_1>");
      }
      for (int64_t i = 2; i < offset_; ++i) {
        vocab_.push_back({StrCat("<unk_", i, ">"), -100});
        extra_.push_back(vocab_.back().first);
      }
      AppendPieces(2);
      unknown_ = model_.unknown_id + offset_;
    } else if (name_ == "LlamaTokenizer" || name_ == "GemmaTokenizer") {
      const bool is_gemma = name_ == "GemmaTokenizer";
      AppendPieces(0);
      for (size_t i = 0; i < 3; ++i) vocab_[i].second = 0;
      if (is_gemma) unknown_ = 3;
      const auto find = [&](std::string_view text) {
        return std::find_if(vocab_.begin(), vocab_.end(),
                            [&](const auto& entry) { return entry.first == text; });
      };
      if (is_gemma && find("\t") == vocab_.end() && find("<0x09>") != vocab_.end()) {
        *find("<0x09>") = {"\t", 0};
      }
    } else {
      AppendPieces(0);
      if (name_ == "AlbertTokenizer") {
        for (auto& [piece, score] : vocab_) {  // numbers before a comma are split
          if (piece.size() >= 2 && piece.back() == ',' && piece[piece.size() - 2] >= '0' &&
              piece[piece.size() - 2] <= '9') {
            score -= 100;
          }
        }
      }
      if (name_ == "T5Tokenizer") {
        for (int64_t i = extra_ids_; i-- > 0;) {
          vocab_.push_back({StrCat("<extra_id_", i, ">"), 0});
          extra_.insert(extra_.begin(), vocab_.back().first);
        }
      }
    }
    if (unknown_ >= static_cast<int64_t>(vocab_.size())) {
      return InvalidFile("the unknown token's id is past the vocabulary");
    }
    return OkStatus();
  }

  Result<Json> MakeModel() const {
    const bool byte_fallback = name_ == "LlamaTokenizer" || name_ == "GemmaTokenizer";
    if (model_.type == SentencePieceModel::Type::kUnigram) {
      std::vector<Json> list;
      for (const auto& [token, score] : vocab_) {
        list.push_back(Json::Array({Json::String(token), Json::Number(score)}));
      }
      return Part("Unigram", {{"unk_id", Json::Int(unknown_)},
                              {"vocab", Json::Array(std::move(list))},
                              {"byte_fallback", Json::Bool(byte_fallback)}});
    }
    if (model_.type != SentencePieceModel::Type::kBpe) {
      return Unsupported(StrCat("a SentencePiece model of words or characters as ", name_));
    }
    std::vector<Json::Member> vocab;
    for (size_t i = 0; i < vocab_.size(); ++i) {
      vocab.push_back({vocab_[i].first, Json::Int(static_cast<int64_t>(i))});
    }
    return Part("BPE", {{"unk_token", Json::String(vocab_[static_cast<size_t>(unknown_)].first)},
                        {"fuse_unk", Json::Bool(true)},
                        {"byte_fallback", Json::Bool(byte_fallback)},
                        {"vocab", Json::Object(std::move(vocab))},
                        {"merges", Json::Array(MergesOfPieces(vocab_))}});
  }

  Json MakeNormalizer() const {
    using tokenizer_json::ReplaceRegex;
    using tokenizer_json::ReplaceString;
    std::vector<Json> parts;
    if (name_ == "LlamaTokenizer") {
      if (!legacy_) return {};
      if (prefix_) parts.push_back(Part("Prepend", {{"prepend", Blank()}}));
      parts.push_back(ReplaceString(" ", tokenizer_json::kBlank));
      return Sequence("normalizers", std::move(parts));
    }
    if (name_ == "GemmaTokenizer") return ReplaceString(" ", tokenizer_json::kBlank);
    const bool is_albert = name_ == "AlbertTokenizer", is_deberta = name_ == "DebertaV2Tokenizer";
    if (is_albert) {
      parts.push_back(ReplaceString("``", "\""));
      parts.push_back(ReplaceString("''", "\""));
      if (!keep_accents_) {
        parts.push_back(Part("NFKD"));
        parts.push_back(Part("StripAccents"));
      }
    }
    if ((is_albert || is_deberta) && lowercase_) parts.push_back(Part("Lowercase"));
    const auto strip = [](bool left) {
      return Part("Strip", {{"strip_left", Json::Bool(left)}, {"strip_right", Json::Bool(true)}});
    };
    if (is_deberta) parts.push_back(strip(true));
    if (!model_.charsmap.empty()) parts.push_back(tokenizer_json::Precompiled(model_.charsmap));
    if (!is_albert && !is_deberta) parts.push_back(strip(false));
    parts.push_back(ReplaceRegex(" {2,}", is_albert || is_deberta ? " " : tokenizer_json::kBlank));
    return Sequence("normalizers", std::move(parts));
  }

  Json MakePreTokenizer() const {
    using tokenizer_json::Metaspace;
    if (name_ == "LlamaTokenizer") return legacy_ ? Json() : Metaspace(scheme_, false);
    if (name_ == "GemmaTokenizer") return {};  // blanks, by which it would split, are gone
    std::vector<Json> parts;
    if (name_ == "PegasusTokenizer") parts.push_back(Part("WhitespaceSplit"));
    if (name_ == "DebertaV2Tokenizer" && split_by_punct_) {
      parts.push_back(Part("Punctuation", {{"behavior", Json::String("Isolated")}}));
    }
    parts.push_back(Metaspace(scheme_));
    return parts.size() == 1 ? parts[0] : Sequence("pretokenizers", std::move(parts));
  }

  Json MakeDecoder() const {
    if (name_ == "LlamaTokenizer") return tokenizer_json::BlankDecoder(true, prefix_);
    if (name_ == "GemmaTokenizer") return tokenizer_json::BlankDecoder(true, false);
    return tokenizer_json::Metaspace(scheme_);
  }

  Json MakePostProcessor() const {
    const std::string a = "$A", b = "$B";
    if (name_ == "T5Tokenizer") return draft_.Around({a, "</s>"}, {a, "</s>", b, "</s>"});
    if (name_ == "PegasusTokenizer") return draft_.Around({a, draft_.eos()}, {a, b, draft_.eos()});
    if (name_ == "AlbertTokenizer" || name_ == "DebertaV2Tokenizer") {
      const std::string cls = "[CLS]", sep = "[SEP]";
      return draft_.Around({cls, a, sep}, {cls, a, sep, b + ":1", sep + ":1"});
    }
    if (name_ == "MBartTokenizer" || (name_ == "NllbTokenizer" && legacy_languages_)) {
      return draft_.Around({a, "</s>", language_}, {a, b, "</s>", language_});
    }
    if (name_ == "MBart50Tokenizer" || name_ == "NllbTokenizer") {
      return draft_.Around({language_, a, "</s>"}, {language_, a, b, "</s>"});
    }
    if (name_ == "XGLMTokenizer") {
      return draft_.Around({"</s>", a}, {"</s>", a, "</s>", "</s>", b});
    }
    if (name_ == "LlamaTokenizer" || name_ == "GemmaTokenizer") {
      const std::string bos = add_bos_ ? draft_.bos() : "", eos = add_eos_ ? draft_.eos() : "";
      const auto second = [](const std::string& token) {
        return token.empty() ? token : token + ":1";
      };
      return draft_.Around({bos, a, eos}, {bos, a, eos, second(bos), b + ":1", second(eos)});
    }
    return draft_.Around({"<s>", a, "</s>"}, {"<s>", a, "</s>", "</s>", b, "</s>"});
  }

  static Json Blank() { return Json::String(std::string(tokenizer_json::kBlank)); }

  const SentencePieceModel& model_;
  const Source& source_;
  std::string_view name_;
  Draft draft_;
  bool legacy_ = true, prefix_ = true, lowercase_ = false, keep_accents_ = false;
  bool split_by_punct_ = false, add_bos_ = true, add_eos_ = false, legacy_languages_ = false;
  int64_t extra_ids_ = 100, offset_ = 103;
  std::string language_;
  const char* scheme_ = "always";
  Scored vocab_;
  int64_t unknown_ = 0;
  std::vector<std::string> extra_;
};

// A SentencePiece model whose pieces have the ids of vocab.json: Marian, M2M100.
Result<Json> ConvertWithIds(const SentencePieceModel& model, const Source& source,
                            const Json& vocab) {
  SOTTO_ASSIGN_OR_RETURN(const bool separate, source.config.BoolOr("separate_vocabs", false));
  if (separate) return Unsupported("a Marian tokenizer with separate_vocabs");
  SOTTO_ASSIGN_OR_RETURN(Json made, SentencePieceTokenizer(model, vocab));
  Draft draft(source.config, source.special_tokens_map, NamesOf(source.name));
  int64_t limit = 0;
  for (const Json::Member& member : vocab.members()) {
    draft.Know(member.first, member.second.as_int());
    limit = std::max(limit, member.second.as_int() + 1);
  }
  draft.Finish();
  const bool is_marian = source.name == "MarianTokenizer";
  if (is_marian) {
    for (const Json::Member& member : vocab.members()) {
      const std::string& token = member.first;
      if (token.starts_with(">>") && token.ends_with("<<")) draft.Add(token, {.special = false});
    }
  } else {
    for (const std::string& code : Words(kM2M100Languages)) {
      draft.Add(StrCat("__", code, "__"), {}, limit++);
    }
  }
  SOTTO_RETURN_IF_ERROR(draft.AddConfigured(source.added_tokens));
  SOTTO_ASSIGN_OR_RETURN(const std::string language, source.config.StringOr("src_lang", "en"));
  const std::string code = is_marian ? "" : StrCat("__", language, "__");
  std::vector<Json::Member> members = made.members();
  for (Json::Member& member : members) {
    if (member.first == "added_tokens") member.second = Json::Array(draft.AddedTokens());
    if (member.first == "post_processor") {
      member.second = draft.Around({code, "$A", draft.eos()}, {code, "$A", "$B", draft.eos()});
    }
  }
  return Json::Object(std::move(members));
}

// ---- vocab.json and merges.txt ----------------------------------------------------------------

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    at = end + 1;
  }
  return lines;
}

Result<Json> ConvertBpe(const Source& source, const Json& vocab, std::string_view merges_text) {
  const bool is_qwen = source.name == "Qwen2Tokenizer", is_gpt2 = source.name == "GPT2Tokenizer";
  const SpecialNames plain = {.bos = is_gpt2 ? "<|endoftext|>" : nullptr,
                              .eos = "<|endoftext|>",
                              .unk = is_gpt2 ? "<|endoftext|>" : nullptr,
                              .pad = is_qwen ? "<|endoftext|>" : nullptr};
  Draft draft(source.config, source.special_tokens_map,
              is_qwen || is_gpt2 ? plain : NamesOf("RobertaTokenizer"));
  for (const Json::Member& member : vocab.members()) {
    draft.Know(member.first, member.second.as_int());
  }
  draft.Finish();
  draft.mask_takes_blanks = true;
  SOTTO_RETURN_IF_ERROR(draft.AddConfigured(source.added_tokens));
  std::vector<Json> merges;
  for (const std::string_view line : Lines(merges_text)) {
    if (!line.empty() && !line.starts_with("#version"))
      merges.push_back(Json::String(std::string(line)));
  }
  SOTTO_ASSIGN_OR_RETURN(const bool prefix, source.config.BoolOr("add_prefix_space", false));
  SOTTO_ASSIGN_OR_RETURN(const bool add_bos, source.config.BoolOr("add_bos_token", false));
  tokenizer_json::Members made;
  made.model = Part("BPE", {{"vocab", vocab}, {"merges", Json::Array(std::move(merges))}});
  made.decoder = tokenizer_json::ByteLevel(true, true, true);
  made.pre_tokenizer = tokenizer_json::ByteLevel(prefix, true, !is_qwen);
  if (is_qwen) {
    made.normalizer = Part("NFC");
    made.pre_tokenizer = Sequence(
        "pretokenizers", {tokenizer_json::Split(kQwen2Pattern, "Isolated"), made.pre_tokenizer});
  }
  if (is_qwen || is_gpt2) {
    made.post_processor = add_bos ? draft.Around({draft.bos(), "$A"}, {draft.bos(), "$A", "$B:1"})
                                  : tokenizer_json::ByteLevel(true, false, true);
  } else {
    const auto named = [&](const std::string& token) {
      return Json::Array({Json::String(token), Json::Int(draft.IdOf(token))});
    };
    made.post_processor = Part("RobertaProcessing", {{"sep", named(draft.sep())},
                                                     {"cls", named(draft.cls())},
                                                     {"trim_offsets", Json::Bool(true)},
                                                     {"add_prefix_space", Json::Bool(prefix)}});
  }
  made.added_tokens = draft.AddedTokens();
  return tokenizer_json::Document(std::move(made));
}

// ---- vocab.txt --------------------------------------------------------------------------------

Result<Json> ConvertWordPiece(const Source& source, std::string_view vocab_text) {
  const bool is_mpnet = source.name == "MPNetTokenizer";
  const SpecialNames bert = {
      .unk = "[UNK]", .sep = "[SEP]", .pad = "[PAD]", .cls = "[CLS]", .mask = "[MASK]"};
  const SpecialNames mpnet = {.bos = "<s>",
                              .eos = "</s>",
                              .unk = "[UNK]",
                              .sep = "</s>",
                              .pad = "<pad>",
                              .cls = "<s>",
                              .mask = "<mask>"};
  Draft draft(source.config, source.special_tokens_map, is_mpnet ? mpnet : bert);
  std::vector<Json::Member> vocab;
  for (const std::string_view line : Lines(vocab_text)) {
    const auto id = static_cast<int64_t>(vocab.size());
    vocab.push_back({std::string(line), Json::Int(id)});
    draft.Know(vocab.back().first, id);
  }
  draft.Finish();
  draft.mask_takes_blanks = is_mpnet;
  SOTTO_RETURN_IF_ERROR(draft.AddConfigured(source.added_tokens));
  const Json& c = source.config;
  SOTTO_ASSIGN_OR_RETURN(const bool lowercase, c.BoolOr("do_lower_case", true));
  SOTTO_ASSIGN_OR_RETURN(const bool ideographs, c.BoolOr("tokenize_chinese_chars", true));
  SOTTO_ASSIGN_OR_RETURN(const bool accents, c.BoolOr("strip_accents", lowercase));
  tokenizer_json::Members made;
  made.model = Part("WordPiece", {{"unk_token", Json::String(draft.unk())},
                                  {"continuing_subword_prefix", Json::String("##")},
                                  {"max_input_chars_per_word", Json::Int(100)},
                                  {"vocab", Json::Object(std::move(vocab))}});
  made.normalizer = Part("BertNormalizer", {{"clean_text", Json::Bool(true)},
                                            {"handle_chinese_chars", Json::Bool(ideographs)},
                                            {"strip_accents", Json::Bool(accents)},
                                            {"lowercase", Json::Bool(lowercase)}});
  made.pre_tokenizer = Part("BertPreTokenizer");
  made.decoder = Part("WordPiece", {{"prefix", Json::String("##")}, {"cleanup", Json::Bool(true)}});
  const std::string &cls = draft.cls(), &sep = draft.sep();
  std::vector<std::string> pair = {cls, "$A", sep};
  if (is_mpnet) pair.push_back(sep);
  pair.insert(pair.end(), {"$B:1", sep + ":1"});
  made.post_processor = draft.Around({cls, "$A", sep}, pair);
  made.added_tokens = draft.AddedTokens();
  return tokenizer_json::Document(std::move(made));
}

Result<Json> ParseObject(std::string_view text, std::string_view name) {
  if (text.empty()) return Json();
  Result<Json> json = Json::Parse(text);
  if (!json.ok()) return json.status().In(name);
  if (!json->is_object()) return InvalidFile(StrCat(name, ": not a JSON object"));
  return json;
}

// vocab.json: {"token": id, ...}.
Result<Json> ParseVocab(std::string_view text) {
  SOTTO_ASSIGN_OR_RETURN(Json vocab, ParseObject(text, "vocab.json"));
  for (const Json::Member& member : vocab.members()) {
    if (!member.second.is_int() || member.second.as_int() < 0 ||
        member.second.as_int() > (1 << 23)) {
      return InvalidFile(StrCat("vocab.json: the id of '", member.first, "' is no token id"));
    }
  }
  return vocab;
}

}  // namespace

Result<std::string> TokenizerJsonOf(const TokenizerFiles& files) {
  if (IsGgmlTokenizer(files.tokenizer)) {
    SOTTO_ASSIGN_OR_RETURN(const Json root, ParseObject(files.tokenizer, "the GGUF tokenizer"));
    SOTTO_ASSIGN_OR_RETURN(const Json made, GgmlTokenizer(root["ggml"]));
    return made.Dump();
  }
  if (!files.tokenizer.empty()) return std::string(files.tokenizer);
  if (files.sentencepiece.empty() && files.vocab.empty()) {
    return NotFound(
        "there is no tokenizer: neither tokenizer.json, nor a SentencePiece model, nor vocab.json "
        "with "
        "merges.txt, nor vocab.txt");
  }
  Source source;
  SOTTO_ASSIGN_OR_RETURN(source.config, ParseObject(files.config, "tokenizer_config.json"));
  SOTTO_ASSIGN_OR_RETURN(source.special_tokens_map,
                         ParseObject(files.special_tokens_map, "special_tokens_map.json"));
  SOTTO_ASSIGN_OR_RETURN(source.added_tokens, ParseObject(files.added_tokens, "added_tokens.json"));
  SOTTO_ASSIGN_OR_RETURN(source.name, ClassOf(source.config["tokenizer_class"].as_string(), files));
  const bool has_ids = source.name == "MarianTokenizer" || source.name == "M2M100Tokenizer";
  Result<Json> made = Json();
  if (!files.sentencepiece.empty()) {
    SOTTO_ASSIGN_OR_RETURN(const SentencePieceModel model,
                           SentencePieceModel::Parse(files.sentencepiece));
    if (has_ids) {
      if (files.vocab.empty()) return NotFound(StrCat(source.name, " needs vocab.json"));
      SOTTO_ASSIGN_OR_RETURN(const Json vocab, ParseVocab(files.vocab));
      made = ConvertWithIds(model, source, vocab);
    } else {
      static constexpr std::string_view kOthers[] = {
          "BartTokenizer", "BertTokenizer",  "DistilBertTokenizer", "ElectraTokenizer",
          "GPT2Tokenizer", "MPNetTokenizer", "Qwen2Tokenizer",      "RobertaTokenizer"};
      if (std::find(std::begin(kOthers), std::end(kOthers), source.name) != std::end(kOthers)) {
        return Unsupported(StrCat("a SentencePiece model as ", source.name));
      }
      SpmConverter converter(model, source);
      made = converter.Convert();
    }
  } else if (!files.merges.empty()) {
    static constexpr std::string_view kBpe[] = {"BartTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer",
                                                "RobertaTokenizer"};
    if (std::find(std::begin(kBpe), std::end(kBpe), source.name) == std::end(kBpe)) {
      return Unsupported(StrCat("vocab.json and merges.txt as ", source.name));
    }
    SOTTO_ASSIGN_OR_RETURN(const Json vocab, ParseVocab(files.vocab));
    made = ConvertBpe(source, vocab, files.merges);
  } else {
    static constexpr std::string_view kBert[] = {"BertTokenizer", "DistilBertTokenizer",
                                                 "ElectraTokenizer", "MPNetTokenizer"};
    if (std::find(std::begin(kBert), std::end(kBert), source.name) == std::end(kBert)) {
      return Unsupported(StrCat("a vocabulary alone as ", source.name));
    }
    made = ConvertWordPiece(source, files.vocab);
  }
  if (!made.ok()) return made.status();
  return made->Dump();
}

}  // namespace sotto
