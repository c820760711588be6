#include "core/text/tokenizer.h"

#include <algorithm>
#include <iterator>
#include <mutex>
#include <numeric>
#include <utility>

#include "core/base/json.h"
#include "core/base/sort.h"
#include "core/base/utf8.h"
#include "core/text/added_tokens.h"
#include "core/text/decoder.h"
#include "core/text/normalizer.h"
#include "core/text/post_processor.h"
#include "core/text/pre_tokenizer.h"
#include "core/text/token_model.h"
#include "core/text/unicode.h"
#include "core/text/word_cache.h"

namespace sotto {
namespace {

// The tokens of one text before the post-processor.
struct Rows {
  std::vector<int32_t> ids;
  std::vector<std::pair<uint32_t, uint32_t>> offsets;
  std::vector<int32_t> words;

  void Clear() {
    ids.clear();
    offsets.clear();
    words.clear();
  }
  Rows Slice(size_t begin, size_t end) const {
    const auto at = [](const auto& v, size_t i) { return v.begin() + static_cast<ptrdiff_t>(i); };
    return {{at(ids, begin), at(ids, end)},
            {at(offsets, begin), at(offsets, end)},
            {at(words, begin), at(words, end)}};
  }
};

// What encoding a text needs for a while; reused from call to call.
struct Scratch {
  WordCache cache;
  PreTokenized work;
  std::vector<Piece> segments;
  std::vector<ModelToken> tokens;
  Rows rows;
};

enum Role { kBos, kEos, kUnk, kPad, kCls, kSep, kMask, kRoleCount };
constexpr const char* kRoleKeys[kRoleCount] = {"bos_token", "eos_token", "unk_token", "pad_token",
                                               "cls_token", "sep_token", "mask_token"};
// What the roles are usually called, for a tokenizer.json that comes alone.
constexpr const char* kUsualNames[kRoleCount][4] = {
    {"<s>", "<|begin_of_text|>", "<|endoftext|>", "[BOS]"},
    {"</s>", "<|end_of_text|>", "<|endoftext|>", "[EOS]"},
    {"[UNK]", "<unk>", nullptr, nullptr},
    {"[PAD]", "<pad>", nullptr, nullptr},
    {"[CLS]", "<cls>", nullptr, nullptr},
    {"[SEP]", "<sep>", nullptr, nullptr},
    {"[MASK]", "<mask>", nullptr, nullptr},
};

// A valid copy of any bytes, each U+FFFD standing for the part that it replaces.
void Mend(std::string_view text, AlignedText& out) {
  out.Own();
  for (uint32_t i = 0; i < text.size();) {
    const Utf8Char c = DecodeUtf8(text, i);
    const auto end = i + static_cast<uint32_t>(c.length);
    out.Append(c.code, {i, end});
    i = end;
  }
}

}  // namespace

struct Tokenizer::Impl {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  std::unique_ptr<TokenModel> model;
  AddedTokens added;
  PostProcessor post_processor;
  Decoder decoder;
  int32_t roles[kRoleCount] = {-1, -1, -1, -1, -1, -1, -1};
  int64_t model_max_length = 0;
  std::string chat_template;
  int32_t language = -1;  // the code that the templates hold; -1: they hold none

  // One scratch waits for the next call; calls at the same time make their own.
  mutable std::mutex mutex;
  mutable std::unique_ptr<Scratch> idle;

  std::unique_ptr<Scratch> Borrow() const {
    {
      const std::lock_guard lock(mutex);
      if (idle != nullptr) return std::move(idle);
    }
    return std::make_unique<Scratch>();
  }
  void Return(std::unique_ptr<Scratch> scratch) const {
    // A huge text does not leave huge buffers behind.
    if (scratch->work.pieces.capacity() > (1 << 20)) {
      scratch->work = {};
      scratch->segments = {};
      scratch->rows = {};
    }
    scratch->work.text.Borrow({});
    const std::lock_guard lock(mutex);
    idle = std::move(scratch);
  }

  std::string_view TokenOf(int32_t id) const {
    if (const AddedToken* token = added.ById(id)) return token->content;
    return model->vocabulary().TokenOf(id);
  }
  bool IsSpecial(int32_t id) const {
    const AddedToken* token = added.ById(id);
    return token != nullptr && token->special;
  }

  Status Pieces(std::string_view text, bool parse_special, Scratch& s) const;
  template <class Emit>
  Status Tokens(Scratch& s, const Emit& emit) const;
  Result<Rows> EncodeText(std::string_view text, bool parse_special) const;
  void TrimOffsets(std::string_view text, Rows& rows) const;
  Encoding Assemble(const Rows* first, const Rows* second, const EncodeOptions& options) const;
  Result<Encoding> Encode(std::string_view first, const std::string_view* second,
                          const EncodeOptions& options) const;
  Status Pad(const EncodeOptions& options, Encoding& encoding) const;
  void ReadConfig(const Json& config, const Json& special_tokens_map);
  Status ReadAddedEnds(const Json& config);
  Status ReadLanguage(const Json& config, std::string_view class_name);
  bool IsLanguage(const AddedToken& token) const;
};

// Cuts a text into the pieces that the model will see.
Status Tokenizer::Impl::Pieces(std::string_view text, bool parse_special, Scratch& s) const {
  if (text.size() > (size_t{1} << 30)) return InvalidArgument("a text of more than 1 GB");
  AlignedText source;
  if (IsValidUtf8(text)) {
    source.Borrow(text);
  } else {
    Mend(text, source);
  }
  const std::string_view valid = source.text();
  s.segments.clear();
  s.work.pieces.clear();
  if (valid.empty()) {
    s.work.text.Borrow({});
    return OkStatus();
  }
  added.Split(valid, {0, static_cast<uint32_t>(valid.size()), -1}, false, parse_special,
              s.segments);

  const bool keeps =
      normalizer == nullptr ||
      std::all_of(s.segments.begin(), s.segments.end(), [&](const Piece& p) {
        return p.token >= 0 || normalizer->Keeps(valid.substr(p.begin, p.end - p.begin));
      });
  if (!keeps) {
    AlignedText& out = s.work.text;
    out.Own();
    for (Piece& segment : s.segments) {
      const auto begin = static_cast<uint32_t>(out.text().size());
      if (segment.token >= 0) {
        for (uint32_t i = segment.begin; i < segment.end;) {
          const Utf8Char c = DecodeUtf8(valid, i);
          const auto end = i + static_cast<uint32_t>(c.length);
          out.Append(c.code, source.SpanOf(i, end));
          i = end;
        }
      } else {
        normalizer->Append(source, segment.begin, segment.end, out);
      }
      segment.begin = begin;
      segment.end = static_cast<uint32_t>(out.text().size());
    }
  } else {
    s.work.text = std::move(source);
  }
  const std::string_view normalized = s.work.text.text();
  for (const Piece& segment : s.segments) {
    if (segment.begin == segment.end) continue;
    if (segment.token >= 0) {
      s.work.pieces.push_back(segment);
    } else {
      added.Split(normalized, segment, true, parse_special, s.work.pieces);
    }
  }
  if (pre_tokenizer != nullptr) pre_tokenizer->Apply(s.work);
  return OkStatus();
}

// Calls emit(id, begin, end, word) for each token; begin and end are in the normalized text.
template <class Emit>
Status Tokenizer::Impl::Tokens(Scratch& s, const Emit& emit) const {
  const std::string_view text = s.work.text.text();
  int32_t word = 0;
  for (const Piece& piece : s.work.pieces) {
    if (piece.token >= 0) {
      emit(piece.token, piece.begin, piece.end, word++);
      continue;
    }
    const std::string_view part = text.substr(piece.begin, piece.end - piece.begin);
    s.tokens.clear();
    if (part.size() <= WordCache::kMaxBytes) {
      const WordCache::Key key = WordCache::KeyOf(part);
      if (!s.cache.Get(key, s.tokens)) {
        SOTTO_RETURN_IF_ERROR(model->Tokenize(part, s.tokens));
        s.cache.Put(key, s.tokens.data(), s.tokens.size());
      }
    } else {
      SOTTO_RETURN_IF_ERROR(model->Tokenize(part, s.tokens));
    }
    for (const ModelToken& token : s.tokens) {
      emit(token.id, piece.begin + token.begin, piece.begin + token.end, word);
    }
    ++word;
  }
  return OkStatus();
}

Result<Rows> Tokenizer::Impl::EncodeText(std::string_view text, bool parse_special) const {
  std::unique_ptr<Scratch> s = Borrow();
  Rows& rows = s->rows;
  rows.Clear();
  Status status = Pieces(text, parse_special, *s);
  if (status.ok()) {
    const AlignedText& normalized = s->work.text;
    status = Tokens(*s, [&](int32_t id, uint32_t begin, uint32_t end, int32_t word) {
      const Span span = normalized.SpanOf(begin, end);
      rows.ids.push_back(id);
      rows.offsets.push_back({span.begin, span.end});
      rows.words.push_back(word);
    });
  }
  Rows out;
  if (status.ok()) out = rows;  // a copy of just the right size; the buffers stay
  Return(std::move(s));
  if (!status.ok()) return status;
  return out;
}

// Takes the blanks that tokens begin and end with out of their offsets, as many characters of the
// original as the token has blanks.
void Tokenizer::Impl::TrimOffsets(std::string_view text, Rows& rows) const {
  constexpr char32_t kBlankLetter = 0x120;  // how ByteLevel spells a blank
  const auto is_blank = [](char32_t c) {
    return c == kBlankLetter || unicode::Has(c, unicode::kSpace);
  };
  // Where the character that ends at `end` begins, at `least` or later.
  const auto char_before = [](std::string_view in, size_t end, size_t least) {
    do {
      --end;
    } while (end > least && (static_cast<uint8_t>(in[end]) & 0xC0) == 0x80);
    return end;
  };
  for (const PostProcessor::Trim& trim : post_processor.trims) {
    for (size_t row = 0; row < rows.ids.size(); ++row) {
      auto& [begin, end] = rows.offsets[row];
      // An added token counts with the white space that it took in: its text tells, not its name.
      const bool is_added = added.ById(rows.ids[row]) != nullptr;
      const std::string_view token =
          is_added ? text.substr(begin, end - begin) : TokenOf(rows.ids[row]);
      size_t leading = 0, text_begin = 0;
      while (text_begin < token.size()) {
        const Utf8Char c = DecodeUtf8(token, text_begin);
        if (!is_blank(c.code)) break;
        text_begin += static_cast<size_t>(c.length);
        ++leading;
      }
      size_t trailing = text_begin == token.size() ? leading : 0;
      for (size_t i = token.size(); i > text_begin; ++trailing) {
        i = char_before(token, i, text_begin);
        if (!is_blank(DecodeUtf8(token, i).code)) break;
      }
      if (leading == 1 && trim.add_prefix_space && (row == 0 || begin == 0)) leading = 0;
      for (; leading > 0 && begin < end; --leading) {
        begin = std::min(end, begin + static_cast<uint32_t>(DecodeUtf8(text, begin).length));
      }
      for (; trailing > 0 && end > begin; --trailing) {
        end = static_cast<uint32_t>(char_before(text, end, begin));
      }
    }
  }
}

Encoding Tokenizer::Impl::Assemble(const Rows* first, const Rows* second,
                                   const EncodeOptions& options) const {
  Encoding out;
  const std::vector<PostProcessor::Part>& parts = post_processor.For(second != nullptr);
  size_t size = 0;
  for (const PostProcessor::Part& part : parts) {
    const Rows* rows = part.sequence == 0 ? first : part.sequence == 1 ? second : nullptr;
    size += rows != nullptr ? rows->ids.size() : part.ids.size();
  }
  const auto reserve = [&](auto&... columns) { (columns.reserve(size), ...); };
  reserve(out.ids, out.type_ids, out.special_tokens_mask, out.offsets, out.word_ids,
          out.sequence_ids);
  const auto append = [](auto& column, const auto& values) {
    column.insert(column.end(), values.begin(), values.end());
  };
  for (const PostProcessor::Part& part : parts) {
    const bool is_text = part.sequence >= 0;
    const Rows* rows = part.sequence == 0 ? first : second;
    if (is_text ? rows == nullptr : !options.add_special_tokens) continue;
    const size_t begin = out.ids.size();
    append(out.ids, is_text ? rows->ids : part.ids);
    const size_t total = out.ids.size();
    if (!is_text && options.language >= 0) {
      std::replace(out.ids.begin() + static_cast<std::ptrdiff_t>(begin), out.ids.end(), language,
                   options.language);
    }
    if (is_text) {
      append(out.offsets, rows->offsets);
      append(out.word_ids, rows->words);
    }
    out.offsets.resize(total);
    out.word_ids.resize(total, -1);
    out.type_ids.resize(total, part.type_id);
    out.special_tokens_mask.resize(total, is_text ? 0 : 1);
    out.sequence_ids.resize(total, part.sequence);
  }
  out.attention_mask.assign(out.ids.size(), 1);
  return out;
}

namespace {

// Keeps `limit` tokens, and gives the windows of what was cut off.
std::vector<Rows> Truncate(Rows& rows, size_t limit, const EncodeOptions& options) {
  std::vector<Rows> overflow;
  const size_t size = rows.ids.size();
  if (size <= limit) return overflow;
  if (limit == 0) {
    if (options.return_overflow) overflow.push_back(rows);
    rows = {};
    return overflow;
  }
  const size_t step = limit - static_cast<size_t>(options.stride);
  std::vector<std::pair<size_t, size_t>> windows;
  if (options.truncate_left) {
    for (size_t end = size;; end -= step) {
      windows.push_back({end > limit ? end - limit : 0, end});
      if (end <= limit) break;
    }
  } else {
    for (size_t begin = 0;; begin += step) {
      windows.push_back({begin, std::min(begin + limit, size)});
      if (begin + limit >= size) break;
    }
  }
  if (options.return_overflow) {
    for (size_t i = 1; i < windows.size(); ++i) {
      overflow.push_back(rows.Slice(windows[i].first, windows[i].second));
    }
  }
  rows = rows.Slice(windows[0].first, windows[0].second);
  return overflow;
}

// Hugging Face's 0.23 stops to tokenize after the piece in which max_length tokens are reached, and
// decides between what it has seen which text is the longer.
size_t Seen(const Rows& rows, const EncodeOptions& options) {
  const auto wanted = static_cast<size_t>(options.max_length);
  const std::vector<int32_t>& words = rows.words;
  if (words.size() <= wanted) return words.size();
  size_t seen = wanted;
  if (options.truncate_left) {
    const size_t last = words.size() - 1;
    while (seen <= last && words[last - seen] == words[last - seen + 1]) ++seen;
  } else {
    while (seen < words.size() && words[seen] == words[seen - 1]) ++seen;
  }
  return seen;
}

// How many tokens of each text remain of at most `limit` in all.
Status Share(size_t& a, size_t& b, bool is_pair, size_t limit, Truncation how) {
  if (a + b <= limit) return OkStatus();
  const size_t excess = a + b - limit;
  if (how == Truncation::kLongestFirst) {
    if (!is_pair) {
      a = limit;
      return OkStatus();
    }
    size_t& shorter = a > b ? b : a;
    size_t& longer = a > b ? a : b;
    longer = shorter > limit ? shorter : std::max(shorter, limit - shorter);
    if (shorter + longer > limit) {
      shorter = limit / 2;
      longer = shorter + limit % 2;
    }
    return OkStatus();
  }
  if (how == Truncation::kOnlySecond && !is_pair) {
    return InvalidArgument("truncation of the second text only, but there is no second text");
  }
  size_t& target = how == Truncation::kOnlyFirst ? a : b;
  if (target <= excess && limit > 0) {
    return InvalidArgument("the text to be truncated is too short for this max_length");
  }
  target -= std::min(target, excess);
  return OkStatus();
}

}  // namespace

Result<Encoding> Tokenizer::Impl::Encode(std::string_view first, const std::string_view* second,
                                         const EncodeOptions& options) const {
  const bool is_pair = second != nullptr;
  Rows a, b;
  SOTTO_ASSIGN_OR_RETURN(a, EncodeText(first, options.parse_special));
  if (is_pair) {
    SOTTO_ASSIGN_OR_RETURN(b, EncodeText(*second, options.parse_special));
  }
  std::vector<Rows> more_a, more_b;
  if (options.max_length > 0) {
    const int added_count = options.add_special_tokens ? post_processor.AddedTo(is_pair) : 0;
    if (options.max_length < added_count) {
      return InvalidArgument(StrCat("max_length ", options.max_length, " leaves no room for the ",
                                    added_count, " special tokens"));
    }
    const auto limit = static_cast<size_t>(options.max_length - added_count);
    size_t keep_a = Seen(a, options), keep_b = Seen(b, options);
    SOTTO_RETURN_IF_ERROR(Share(keep_a, keep_b, is_pair, limit, options.truncation));
    for (const auto& [keep, size] : {std::pair(keep_a, a.ids.size()), {keep_b, b.ids.size()}}) {
      if (options.stride < 0 ||
          (keep < size && keep > 0 && static_cast<size_t>(options.stride) >= keep)) {
        return InvalidArgument(StrCat("stride must be less than the ", keep, " tokens kept"));
      }
    }
    more_a = Truncate(a, keep_a, options);
    more_b = Truncate(b, keep_b, options);
  }
  if (!post_processor.trims.empty()) {
    TrimOffsets(first, a);
    for (Rows& rows : more_a) TrimOffsets(first, rows);
    if (is_pair) {
      TrimOffsets(*second, b);
      for (Rows& rows : more_b) TrimOffsets(*second, rows);
    }
  }
  const Rows* const pair = is_pair ? &b : nullptr;
  Encoding out = Assemble(&a, pair, options);
  for (const Rows& rows : more_a) {
    out.overflow.push_back(Assemble(&rows, pair, options));
    for (const Rows& other : more_b) out.overflow.push_back(Assemble(&rows, &other, options));
  }
  for (const Rows& other : more_b) out.overflow.push_back(Assemble(&a, &other, options));
  SOTTO_RETURN_IF_ERROR(Pad(options, out));
  for (Encoding& window : out.overflow) SOTTO_RETURN_IF_ERROR(Pad(options, window));
  return out;
}

Status Tokenizer::Impl::Pad(const EncodeOptions& options, Encoding& encoding) const {
  if (options.pad_to <= 0 || encoding.size() >= static_cast<size_t>(options.pad_to)) {
    return OkStatus();
  }
  if (roles[kPad] < 0) return InvalidArgument("this tokenizer has no padding token");
  const size_t count = static_cast<size_t>(options.pad_to) - encoding.size();
  const auto pad = [&](auto& column, auto value) {
    column.insert(options.pad_left ? column.begin() : column.end(), count, value);
  };
  pad(encoding.ids, roles[kPad]);
  pad(encoding.type_ids, 0);
  pad(encoding.attention_mask, 0);
  pad(encoding.special_tokens_mask, 1);
  pad(encoding.offsets, std::pair<uint32_t, uint32_t>(0, 0));
  pad(encoding.word_ids, -1);
  pad(encoding.sequence_ids, -1);
  return OkStatus();
}

// Roles, limit and chat template from tokenizer_config.json and special_tokens_map.json. What
// neither mentions is looked for under its usual name; a role that is null in a file stays empty.
void Tokenizer::Impl::ReadConfig(const Json& config, const Json& special_tokens_map) {
  const auto find = [&](std::string_view content) -> int32_t {
    if (const AddedToken* token = added.ByContent(content)) return token->id;
    return model->vocabulary().IdOf(content);
  };
  for (int role = 0; role < kRoleCount; ++role) {
    bool named = false;
    for (const Json* file : {&config, &special_tokens_map}) {
      const Json& value = (*file)[kRoleKeys[role]];
      named = named || file->has(kRoleKeys[role]);
      const std::string& content =
          value.is_object() ? value["content"].as_string() : value.as_string();
      if (roles[role] < 0 && !content.empty()) roles[role] = find(content);
    }
    for (const char* name : kUsualNames[role]) {
      if (!named && roles[role] < 0 && name != nullptr) roles[role] = find(name);
    }
  }
  if (roles[kUnk] < 0) roles[kUnk] = model->unknown_id();
  const double limit = config["model_max_length"].as_number();
  // Hugging Face writes 1e30 for "no limit".
  model_max_length = limit >= 1 && limit < 1e9 ? static_cast<int64_t>(limit) : 0;
  const Json& templates = config["chat_template"];
  chat_template = templates.as_string();
  for (const Json& entry : templates.items()) {
    if (chat_template.empty() || entry["name"].as_string() == "default") {
      chat_template = entry["template"].as_string();
    }
  }
}

// Llama's kin say in tokenizer_config.json what is put around a text, and that goes before what
// tokenizer.json says.
Status Tokenizer::Impl::ReadAddedEnds(const Json& config) {
  std::string_view name = config["tokenizer_class"].as_string();
  if (name.ends_with("Fast")) name.remove_suffix(4);
  static constexpr std::string_view kClasses[] = {"CodeLlamaTokenizer", "GPTNeoXTokenizer",
                                                  "GemmaTokenizer", "LlamaTokenizer"};
  const bool known =
      std::find(std::begin(kClasses), std::end(kClasses), name) != std::end(kClasses);
  if (!known || config["add_bos_token"].is_null()) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(const bool bos, config.BoolAt("add_bos_token"));
  SOTTO_ASSIGN_OR_RETURN(const bool eos, config.BoolOr("add_eos_token", false));
  const auto around = [&](int8_t sequence) {
    std::vector<PostProcessor::Part> parts;
    if (bos && roles[kBos] >= 0) parts.push_back({-1, sequence, {roles[kBos]}});
    parts.push_back({sequence, sequence, {}});
    if (eos && roles[kEos] >= 0) parts.push_back({-1, sequence, {roles[kEos]}});
    return parts;
  };
  post_processor = {};
  post_processor.single = post_processor.pair = around(0);
  for (PostProcessor::Part& part : around(1)) post_processor.pair.push_back(std::move(part));
  return OkStatus();
}

// Special tokens without a role, of a tokenizer that knows languages.
bool Tokenizer::Impl::IsLanguage(const AddedToken& token) const {
  return token.special &&
         std::find(std::begin(roles), std::end(roles), token.id) == std::end(roles);
}

// Translators put the code of the text's language around it by their class, whatever tokenizer.json
// says: that may have been written for another language.
Status Tokenizer::Impl::ReadLanguage(const Json& config, std::string_view class_name) {
  std::string_view name = config["tokenizer_class"].as_string();
  if (name.empty()) name = class_name;
  if (name.ends_with("Fast")) name.remove_suffix(4);
  static constexpr struct {
    std::string_view name, language;
    bool before;
  } kClasses[] = {{"M2M100Tokenizer", "__en__", true},
                  {"MBart50Tokenizer", "en_XX", true},
                  {"MBartTokenizer", "en_XX", false},
                  {"NllbTokenizer", "eng_Latn", true}};
  const auto* found = std::find_if(std::begin(kClasses), std::end(kClasses),
                                   [&](const auto& known) { return known.name == name; });
  if (found == std::end(kClasses)) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(std::string source,
                         config.StringOr("src_lang", std::string(found->language)));
  SOTTO_ASSIGN_OR_RETURN(const bool legacy, config.BoolOr("legacy_behaviour", false));
  const bool before = found->before && !(legacy && name == "NllbTokenizer");
  const AddedToken* code = added.ByContent(source);
  if (code == nullptr) code = added.ByContent(StrCat("__", source, "__"));
  if (code == nullptr || !IsLanguage(*code) || roles[kEos] < 0) return OkStatus();
  language = code->id;
  const auto around = [&](std::vector<PostProcessor::Part> parts) {
    if (before) parts.insert(parts.begin(), {-1, 0, {language}});
    parts.push_back({-1, 0, {roles[kEos]}});
    if (!before) parts.push_back({-1, 0, {language}});
    return parts;
  };
  post_processor = {};
  post_processor.single = around({{0, 0, {}}});
  post_processor.pair = around({{0, 0, {}}, {1, 0, {}}});
  return OkStatus();
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::FromJson(std::string_view tokenizer_json,
                                      std::string_view tokenizer_config_json,
                                      std::string_view special_tokens_map_json,
                                      std::string_view chat_template_jinja,
                                      std::string_view class_name) {
  const auto parse = [](std::string_view text, const char* name) -> Result<Json> {
    if (text.empty()) return Json();
    Result<Json> json = Json::Parse(text);
    if (!json.ok()) return json.status().In(name);
    if (!json->is_object()) return InvalidFile(StrCat(name, ": not a JSON object"));
    return json;
  };
  SOTTO_ASSIGN_OR_RETURN(const Json config, parse(tokenizer_config_json, "tokenizer_config.json"));
  SOTTO_ASSIGN_OR_RETURN(const Json special,
                         parse(special_tokens_map_json, "special_tokens_map.json"));
  SOTTO_ASSIGN_OR_RETURN(const Json root, parse(tokenizer_json, "tokenizer.json"));
  if (!root.is_object()) return InvalidFile("tokenizer.json is empty");

  auto impl = std::make_shared<Impl>();
  const auto build = [&]() -> Status {
    SOTTO_ASSIGN_OR_RETURN(impl->normalizer, MakeNormalizer(root["normalizer"]));
    SOTTO_ASSIGN_OR_RETURN(impl->pre_tokenizer, MakePreTokenizer(root["pre_tokenizer"]));
    const bool to_bytes = impl->pre_tokenizer != nullptr && impl->pre_tokenizer->to_bytes();
    SOTTO_ASSIGN_OR_RETURN(impl->model, MakeTokenModel(root["model"], to_bytes));
    SOTTO_ASSIGN_OR_RETURN(impl->added,
                           AddedTokens::FromJson(root["added_tokens"], impl->model->vocabulary(),
                                                 impl->normalizer.get()));
    SOTTO_ASSIGN_OR_RETURN(impl->post_processor, MakePostProcessor(root["post_processor"]));
    SOTTO_ASSIGN_OR_RETURN(const bool clean_up,
                           config.BoolOr("clean_up_tokenization_spaces", false));
    SOTTO_ASSIGN_OR_RETURN(impl->decoder, Decoder::FromJson(root["decoder"], clean_up));
    return OkStatus();
  };
  if (Status status = build(); !status.ok()) return status.In("tokenizer.json");
  impl->ReadConfig(config, special);
  if (!chat_template_jinja.empty()) impl->chat_template = chat_template_jinja;
  Status read = impl->ReadAddedEnds(config);
  if (read.ok()) read = impl->ReadLanguage(config, class_name);
  if (!read.ok()) return read.In("tokenizer_config.json");
  return Tokenizer(std::move(impl));
}

Result<Encoding> Tokenizer::Encode(std::string_view text, const EncodeOptions& options) const {
  return impl_->Encode(text, nullptr, options);
}

Result<Encoding> Tokenizer::EncodePair(std::string_view first, std::string_view second,
                                       const EncodeOptions& options) const {
  return impl_->Encode(first, &second, options);
}

Status Tokenizer::EncodeIds(std::string_view text, bool parse_special,
                            std::vector<int32_t>& ids) const {
  std::unique_ptr<Scratch> s = impl_->Borrow();
  Status status = impl_->Pieces(text, parse_special, *s);
  if (status.ok()) {
    status = impl_->Tokens(*s, [&](int32_t id, uint32_t, uint32_t, int32_t) { ids.push_back(id); });
  }
  impl_->Return(std::move(s));
  return status;
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string out;
  Decoder::Chain chain = impl_->decoder.Start(&out);
  for (const int32_t id : ids) {
    const std::string_view token = impl_->TokenOf(id);
    if (token.empty() || (skip_special && impl_->IsSpecial(id))) continue;
    chain.front().Text(token);
    chain.front().EndToken();
  }
  chain.front().Finish();
  return out;
}

int32_t Tokenizer::vocab_size() const {
  return std::max(impl_->model->vocabulary().limit(), impl_->added.limit());
}

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  if (const AddedToken* known = impl_->added.ByContent(token)) return known->id;
  const int32_t id = impl_->model->vocabulary().IdOf(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::string_view Tokenizer::IdToToken(int32_t id) const { return impl_->TokenOf(id); }
bool Tokenizer::IsSpecial(int32_t id) const { return impl_->IsSpecial(id); }

namespace {
std::optional<int32_t> Present(int32_t id) { return id < 0 ? std::nullopt : std::optional(id); }
}  // namespace

std::optional<int32_t> Tokenizer::bos_id() const { return Present(impl_->roles[kBos]); }
std::optional<int32_t> Tokenizer::eos_id() const { return Present(impl_->roles[kEos]); }
std::optional<int32_t> Tokenizer::unk_id() const { return Present(impl_->roles[kUnk]); }
std::optional<int32_t> Tokenizer::pad_id() const { return Present(impl_->roles[kPad]); }
std::optional<int32_t> Tokenizer::cls_id() const { return Present(impl_->roles[kCls]); }
std::optional<int32_t> Tokenizer::sep_id() const { return Present(impl_->roles[kSep]); }
std::optional<int32_t> Tokenizer::mask_id() const { return Present(impl_->roles[kMask]); }

std::vector<std::pair<std::string_view, std::string>> Tokenizer::named_tokens() const {
  std::vector<std::pair<std::string_view, std::string>> out;
  for (int role = 0; role < kRoleCount; ++role) {
    if (impl_->roles[role] >= 0) out.emplace_back(kRoleKeys[role], IdToToken(impl_->roles[role]));
  }
  return out;
}

std::vector<std::string> Tokenizer::special_tokens() const {
  std::vector<std::string> out;
  for (int32_t id = 0, n = vocab_size(); id < n; ++id) {
    if (IsSpecial(id)) out.emplace_back(IdToToken(id));
  }
  return out;
}

Result<int32_t> Tokenizer::LanguageId(std::string_view name) const {
  constexpr size_t kNamed = 12;
  if (impl_->language < 0) return InvalidArgument("this model's tokenizer knows no languages");
  std::string known;
  size_t count = 0;
  for (const AddedToken& token : impl_->added.all()) {
    if (!impl_->IsLanguage(token)) continue;
    std::string_view code = token.content;
    if (code == name) return token.id;
    if (code.size() > 4 && code.starts_with("__") && code.ends_with("__"))
      code = code.substr(2, code.size() - 4);
    if (code == name) return token.id;
    if (++count <= kNamed) known += StrCat(count == 1 ? "" : ", ", code);
  }
  if (count > kNamed) known += StrCat(" and ", count - kNamed, " more");
  return InvalidArgument(StrCat("'", ReplaceInvalidUtf8(name),
                                "' is no language of this model's tokenizer; it knows ", known));
}

int Tokenizer::special_tokens_to_add(bool pair) const {
  return impl_->post_processor.AddedTo(pair);
}
int64_t Tokenizer::model_max_length() const { return impl_->model_max_length; }
const std::string& Tokenizer::chat_template() const { return impl_->chat_template; }

struct StreamDecoder::State {
  std::shared_ptr<const Tokenizer::Impl> impl;
  bool skip_special;
  std::string out;
  Decoder::Chain chain;
};

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : state_(std::make_unique<State>()) {
  state_->impl = tokenizer.impl_;
  state_->skip_special = skip_special;
  state_->chain = state_->impl->decoder.Start(&state_->out);
}
StreamDecoder::StreamDecoder(StreamDecoder&&) noexcept = default;
StreamDecoder& StreamDecoder::operator=(StreamDecoder&&) noexcept = default;
StreamDecoder::~StreamDecoder() = default;

std::string StreamDecoder::Push(int32_t id) {
  State& s = *state_;
  const std::string_view token = s.impl->TokenOf(id);
  if (!token.empty() && !(s.skip_special && s.impl->IsSpecial(id))) {
    s.chain.front().Text(token);
    s.chain.front().EndToken();
  }
  return std::exchange(s.out, {});
}

std::string StreamDecoder::PushToken(std::string_view token) {
  State& s = *state_;
  s.chain.front().Text(token);
  s.chain.front().EndToken();
  return std::exchange(s.out, {});
}

std::string StreamDecoder::Finish() {
  State& s = *state_;
  s.chain.front().Finish();
  s.chain = s.impl->decoder.Start(&s.out);
  return std::exchange(s.out, {});
}

void NumberUnknownWords(std::string_view text, int32_t unknown, int32_t first, bool learn,
                        std::vector<std::string>& words, Encoding& encoding) {
  for (size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    if (encoding.ids[i] != unknown || begin >= end) continue;
    const std::string_view word = text.substr(begin, end - begin);
    const auto known = std::find(words.begin(), words.end(), word);
    if (known == words.end() && !learn) continue;
    encoding.ids[i] = first + static_cast<int32_t>(known - words.begin());
    if (known == words.end()) words.emplace_back(word);
  }
}

std::vector<uint32_t> Utf16Offsets(std::string_view text, std::span<const uint32_t> byte_offsets) {
  std::vector<uint32_t> out(byte_offsets.size());
  size_t i = 0;
  uint32_t units = 0;
  const auto units_before = [&](uint32_t offset) {  // offsets in rising order
    while (i < text.size()) {
      const Utf8Char c = DecodeUtf8(text, i);
      if (offset < i + static_cast<size_t>(c.length)) break;
      i += static_cast<size_t>(c.length);
      units += c.code >= 0x10000 ? 2 : 1;
    }
    return units;
  };
  if (std::is_sorted(byte_offsets.begin(), byte_offsets.end())) {
    std::transform(byte_offsets.begin(), byte_offsets.end(), out.begin(), units_before);
    return out;
  }
  std::vector<uint32_t> order(byte_offsets.size());
  std::iota(order.begin(), order.end(), 0);
  HeapSort(order.begin(), order.end(),
           [&](uint32_t a, uint32_t b) { return byte_offsets[a] < byte_offsets[b]; });
  for (const uint32_t at : order) out[at] = units_before(byte_offsets[at]);
  return out;
}

}  // namespace sotto
