#include "core/text/train_vocab.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "core/base/json.h"
#include "core/text/aligned_text.h"
#include "core/text/byte_alphabet.h"
#include "core/text/normalizer.h"
#include "core/text/pre_tokenizer.h"
#include "core/text/split_pattern.h"
#include "core/text/string_table.h"

namespace sotto {
namespace {

Json Type(std::string type, std::vector<Json::Member> more = {}) {
  std::vector<Json::Member> members = {{"type", Json::String(std::move(type))}};
  for (Json::Member& member : more) members.push_back(std::move(member));
  return Json::Object(std::move(members));
}

Json ByteLevel(bool add_prefix_space, bool use_regex) {
  return Type("ByteLevel", {{"add_prefix_space", Json::Bool(add_prefix_space)},
                            {"trim_offsets", Json::Bool(false)},
                            {"use_regex", Json::Bool(use_regex)}});
}

Json BpeNormalizer(const TrainBpeOptions& options) {
  return options.pattern == PreTokenizerPattern::kQwen2 ? Type("NFC") : Json();
}

Json BpePreTokenizer(const TrainBpeOptions& options) {
  if (options.pattern == PreTokenizerPattern::kGpt2) {
    return ByteLevel(options.add_prefix_space, true);
  }
  const std::string_view regex =
      options.pattern == PreTokenizerPattern::kLlama3 ? kLlama3Pattern : kQwen2Pattern;
  Json split =
      Type("Split", {{"pattern", Json::Object({{"Regex", Json::String(std::string(regex))}})},
                     {"behavior", Json::String("Isolated")},
                     {"invert", Json::Bool(false)}});
  std::vector<Json> parts = {std::move(split), ByteLevel(options.add_prefix_space, false)};
  return Type("Sequence", {{"pretokenizers", Json::Array(std::move(parts))}});
}

Json WordPieceNormalizer(const TrainWordPieceOptions& options) {
  return Type("BertNormalizer", {{"clean_text", Json::Bool(true)},
                                 {"handle_chinese_chars", Json::Bool(true)},
                                 {"strip_accents", Json()},
                                 {"lowercase", Json::Bool(options.lowercase)}});
}

}  // namespace

struct WordCounts::Impl {
  std::unique_ptr<Normalizer> normalizer;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  PreTokenized work;
  std::string valid;  // the text being added, where it had to be mended
  StringTable words;
  std::vector<int64_t> counts;
  int64_t total = 0;
};

WordCounts::WordCounts(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
WordCounts::WordCounts(WordCounts&&) noexcept = default;
WordCounts& WordCounts::operator=(WordCounts&&) noexcept = default;
WordCounts::~WordCounts() = default;

WordCounts WordCounts::ForBpe(const TrainBpeOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->normalizer = std::move(*MakeNormalizer(BpeNormalizer(options)));
  impl->pre_tokenizer = std::move(*MakePreTokenizer(BpePreTokenizer(options)));
  return WordCounts(std::move(impl));
}

WordCounts WordCounts::ForWordPiece(const TrainWordPieceOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->normalizer = std::move(*MakeNormalizer(WordPieceNormalizer(options)));
  impl->pre_tokenizer = std::move(*MakePreTokenizer(Type("BertPreTokenizer")));
  return WordCounts(std::move(impl));
}

void WordCounts::Add(std::string_view text) {
  // Long texts go in parts, cut where a line ends: the buffers stay small.
  constexpr size_t kPart = size_t{1} << 20;
  while (text.size() > kPart) {
    size_t cut = text.rfind('\n', kPart);
    cut = cut == std::string_view::npos || cut < kPart / 2
              ? CompleteUtf8Prefix(text.substr(0, kPart))
              : cut + 1;
    const std::string_view part = text.substr(0, cut);
    text.remove_prefix(cut);
    Add(part);
  }
  if (text.empty()) return;
  Impl& impl = *impl_;
  if (!IsValidUtf8(text)) {
    impl.valid = ReplaceInvalidUtf8(text);
    text = impl.valid;
  }
  AlignedText source;
  source.Borrow(text);
  if (impl.normalizer != nullptr && !impl.normalizer->Keeps(text)) {
    impl.work.text.Own();
    impl.normalizer->Append(source, 0, static_cast<uint32_t>(text.size()), impl.work.text);
  } else {
    impl.work.text = source;
  }
  impl.work.pieces.clear();
  const auto size = static_cast<uint32_t>(impl.work.text.text().size());
  if (size > 0) impl.work.pieces.push_back({0, size, -1});
  impl.pre_tokenizer->Apply(impl.work);
  const std::string_view bytes = impl.work.text.text();
  for (const Piece& piece : impl.work.pieces) {
    const uint32_t word = impl.words.Intern(bytes.substr(piece.begin, piece.end - piece.begin));
    if (word == impl.counts.size()) impl.counts.push_back(0);
    ++impl.counts[word];
  }
  impl.total += static_cast<int64_t>(impl.work.pieces.size());
}

int64_t WordCounts::total() const { return impl_->total; }
int64_t WordCounts::distinct() const { return impl_->words.size(); }

// Merges the most frequent pair of neighbours until the vocabulary is full (Sennrich et al. 2016).
// Ties go to the smaller pair of ids, as in Hugging Face's trainer, so that both learn the same.
class VocabTrainer {
 public:
  using Merge = std::pair<uint32_t, uint32_t>;

  VocabTrainer(const WordCounts& words, int64_t min_frequency, size_t vocab_size,
               size_t max_token_length, std::string_view continuing_prefix)
      : source_(*words.impl_),
        min_frequency_(std::max<int64_t>(min_frequency, 1)),
        vocab_size_(vocab_size),
        max_token_length_(max_token_length),
        prefix_(continuing_prefix) {}

  StringTable& tokens() { return tokens_; }
  const std::vector<Merge>& merges() const { return merges_; }
  const StringTable& words() const { return source_.words; }
  int64_t count(uint32_t word) const { return source_.counts[word]; }

  // Words come in as their symbols, with their counts.
  void AddWord(const std::vector<uint32_t>& symbols, int64_t count) {
    if (symbols.size() < 2) return;
    begins_.push_back(static_cast<uint32_t>(symbols_.size()));
    lengths_.push_back(static_cast<uint32_t>(symbols.size()));
    word_counts_.push_back(count);
    symbols_.insert(symbols_.end(), symbols.begin(), symbols.end());
  }

  void Run() {
    Grow(1 << 16);
    for (uint32_t w = 0; w < begins_.size(); ++w) {
      const uint32_t* s = &symbols_[begins_[w]];
      for (uint32_t i = 0; i + 1 < lengths_[w]; ++i) Change(s[i], s[i + 1], word_counts_[w], w);
    }
    touched_.clear();
    for (uint32_t p = 0; p < pairs_.size(); ++p) heap_.push({pairs_[p].count, pairs_[p].key, p});
    while (tokens_.size() < vocab_size_ && !heap_.empty()) {
      Candidate top = heap_.top();
      heap_.pop();
      if (top.count != pairs_[top.pair].count) {
        top.count = pairs_[top.pair].count;
        if (top.count > 0) heap_.push(top);
        continue;
      }
      if (top.count < min_frequency_) break;
      MergePair(top.pair);
    }
  }

 private:
  struct Pair {
    uint64_t key;  // left << 32 | right
    int64_t count = 0;
    std::vector<uint32_t> words;  // where it occurs or did
    bool touched = false;
  };
  struct Candidate {
    int64_t count;
    uint64_t key;
    uint32_t pair;
    bool operator<(const Candidate& o) const {
      return count != o.count ? count < o.count : key > o.key;
    }
  };

  void MergePair(uint32_t index) {
    const auto left = static_cast<uint32_t>(pairs_[index].key >> 32);
    const auto right = static_cast<uint32_t>(pairs_[index].key);
    std::string token(tokens_[left]);
    std::string_view tail = tokens_[right];
    if (!prefix_.empty() && tail.starts_with(prefix_)) tail.remove_prefix(prefix_.size());
    token += tail;
    if (max_token_length_ > 0 && token.size() > max_token_length_) return;
    const uint32_t merged = tokens_.Intern(token);
    merges_.push_back({left, right});
    const std::vector<uint32_t> words = std::move(pairs_[index].words);
    uint32_t last = ~0u;
    for (const uint32_t word : words) {
      if (word != last) MergeInWord(word, left, right, merged);
      last = word;
    }
    for (const uint32_t p : touched_) {
      pairs_[p].touched = false;
      if (pairs_[p].count > 0) heap_.push({pairs_[p].count, pairs_[p].key, p});
    }
    touched_.clear();
  }

  void MergeInWord(uint32_t word, uint32_t left, uint32_t right, uint32_t merged) {
    uint32_t* s = &symbols_[begins_[word]];
    const uint32_t length = lengths_[word];
    const int64_t count = word_counts_[word];
    uint32_t out = 0;
    for (uint32_t i = 0; i < length;) {
      if (i + 1 < length && s[i] == left && s[i + 1] == right) {
        if (out > 0) {
          Change(s[out - 1], left, -count, word);
          Change(s[out - 1], merged, count, word);
        }
        if (i + 2 < length) {
          Change(right, s[i + 2], -count, word);
          Change(merged, s[i + 2], count, word);
        }
        s[out++] = merged;
        i += 2;
      } else {
        s[out++] = s[i++];
      }
    }
    lengths_[word] = out;
  }

  void Change(uint32_t left, uint32_t right, int64_t by, uint32_t word) {
    const uint64_t key = static_cast<uint64_t>(left) << 32 | right;
    size_t slot = SlotOf(key);
    while (slots_[slot] != 0 && pairs_[slots_[slot] - 1].key != key) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    if (slots_[slot] == 0) {
      pairs_.push_back({key, 0, {}, false});
      slots_[slot] = static_cast<uint32_t>(pairs_.size());
      if (pairs_.size() * 2 > slots_.size()) Grow(slots_.size() * 2);
      return Change(left, right, by, word);
    }
    const uint32_t index = slots_[slot] - 1;
    Pair& pair = pairs_[index];
    pair.count += by;
    if (by > 0) {
      if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
      if (!pair.touched) {
        pair.touched = true;
        touched_.push_back(index);
      }
    }
  }

  size_t SlotOf(uint64_t key) const {
    return static_cast<size_t>((key * 0x9E3779B97F4A7C15ull) >> 32) & (slots_.size() - 1);
  }
  void Grow(size_t slots) {
    slots_.assign(slots, 0);
    for (uint32_t p = 0; p < pairs_.size(); ++p) {
      size_t slot = SlotOf(pairs_[p].key);
      while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = p + 1;
    }
  }

  const WordCounts::Impl& source_;
  int64_t min_frequency_;
  size_t vocab_size_, max_token_length_;
  std::string prefix_;
  StringTable tokens_;
  std::vector<Merge> merges_;
  std::vector<uint32_t> symbols_, begins_, lengths_;  // word w: lengths_[w] symbols at begins_[w]
  std::vector<int64_t> word_counts_;
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_;  // open addressing over pairs_: index + 1
  std::vector<uint32_t> touched_;
  std::priority_queue<Candidate> heap_;
};

namespace {

Status CheckSpecialTokens(const std::vector<std::string>& tokens, int32_t vocab_size) {
  if (vocab_size < 1 || vocab_size > (1 << 22)) {
    return InvalidArgument("'vocab_size' must be between 1 and 4194304");
  }
  StringTable seen;
  for (const std::string& token : tokens) {
    if (token.empty() || !IsValidUtf8(token)) {
      return InvalidArgument("a special token must be a non-empty string of valid UTF-8");
    }
    seen.Intern(token);
  }
  if (seen.size() != tokens.size()) return InvalidArgument("a special token is named twice");
  return OkStatus();
}

Result<int64_t> SpecialId(const std::vector<std::string>& tokens, const std::string& token) {
  const auto it = std::find(tokens.begin(), tokens.end(), token);
  if (it == tokens.end()) {
    return InvalidArgument(StrCat("'", token, "' must be among the special tokens"));
  }
  return static_cast<int64_t>(it - tokens.begin());
}

Json AddedTokens(const std::vector<std::string>& tokens) {
  std::vector<Json> added;
  for (size_t i = 0; i < tokens.size(); ++i) {
    added.push_back(Json::Object({{"id", Json::Int(static_cast<int64_t>(i))},
                                  {"content", Json::String(tokens[i])},
                                  {"single_word", Json::Bool(false)},
                                  {"lstrip", Json::Bool(false)},
                                  {"rstrip", Json::Bool(false)},
                                  {"normalized", Json::Bool(false)},
                                  {"special", Json::Bool(true)}}));
  }
  return Json::Array(std::move(added));
}

Json Vocabulary(const StringTable& tokens) {
  std::vector<Json::Member> members;
  members.reserve(tokens.size());
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    members.push_back({std::string(tokens[i]), Json::Int(i)});
  }
  return Json::Object(std::move(members));
}

Json TemplatePart(const char* kind, const std::string& id, int type_id) {
  return Json::Object(
      {{kind, Json::Object({{"id", Json::String(id)}, {"type_id", Json::Int(type_id)}})}});
}

// `first` A `last` for one text; B follows between `middle` and `last` in a pair.
Result<Json> Template(const std::vector<std::string>& tokens, const std::string& first,
                      const std::string& last, bool first_again) {
  std::vector<Json> single, pair;
  std::vector<Json::Member> used;
  for (const std::string& token : {first, last}) {
    if (token.empty() || (!used.empty() && used[0].first == token)) continue;
    SOTTO_ASSIGN_OR_RETURN(const int64_t id, SpecialId(tokens, token));
    used.push_back({token, Json::Object({{"id", Json::String(token)},
                                         {"ids", Json::Array({Json::Int(id)})},
                                         {"tokens", Json::Array({Json::String(token)})}})});
  }
  for (int type = 0; type < 2; ++type) {
    std::vector<Json> part;
    if (!first.empty() && (type == 0 || first_again)) {
      part.push_back(TemplatePart("SpecialToken", first, type));
    }
    part.push_back(TemplatePart("Sequence", type == 0 ? "A" : "B", type));
    if (!last.empty()) part.push_back(TemplatePart("SpecialToken", last, type));
    if (type == 0) single = part;
    pair.insert(pair.end(), part.begin(), part.end());
  }
  return Type("TemplateProcessing", {{"single", Json::Array(std::move(single))},
                                     {"pair", Json::Array(std::move(pair))},
                                     {"special_tokens", Json::Object(std::move(used))}});
}

std::string Document(const std::vector<std::string>& special_tokens, Json normalizer,
                     Json pre_tokenizer, Json post_processor, Json decoder, Json model) {
  return Json::Object({{"version", Json::String("1.0")},
                       {"truncation", Json()},
                       {"padding", Json()},
                       {"added_tokens", AddedTokens(special_tokens)},
                       {"normalizer", std::move(normalizer)},
                       {"pre_tokenizer", std::move(pre_tokenizer)},
                       {"post_processor", std::move(post_processor)},
                       {"decoder", std::move(decoder)},
                       {"model", std::move(model)}})
      .Dump();
}

// The characters of all words by frequency, at most `limit`, in code point order.
std::vector<char32_t> Alphabet(const VocabTrainer& trainer, size_t limit) {
  std::vector<std::pair<int64_t, char32_t>> counts;
  std::vector<int64_t> tally(0x110000, 0);
  for (uint32_t w = 0; w < trainer.words().size(); ++w) {
    const std::string_view word = trainer.words()[w];
    for (size_t i = 0; i < word.size();) {
      const Utf8Char c = DecodeUtf8(word, i);
      tally[c.code] += trainer.count(w);
      i += c.length;
    }
  }
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (tally[c] > 0) counts.push_back({-tally[c], c});
  }
  std::sort(counts.begin(), counts.end());
  if (counts.size() > limit) counts.resize(limit);
  std::vector<char32_t> alphabet;
  for (const auto& entry : counts) alphabet.push_back(entry.second);
  std::sort(alphabet.begin(), alphabet.end());
  return alphabet;
}

}  // namespace

Result<std::string> TrainBpe(const WordCounts& words, const TrainBpeOptions& options) {
  SOTTO_RETURN_IF_ERROR(CheckSpecialTokens(options.special_tokens, options.vocab_size));
  VocabTrainer trainer(words, options.min_frequency, static_cast<size_t>(options.vocab_size),
                       static_cast<size_t>(std::max(options.max_token_length, 0)), {});
  StringTable& tokens = trainer.tokens();
  for (const std::string& token : options.special_tokens) tokens.Intern(token);
  std::vector<uint16_t> letters(kByteLetters.begin(), kByteLetters.end());
  std::sort(letters.begin(), letters.end());
  uint32_t symbol_of_byte[256];
  for (const uint16_t letter : letters) {
    std::string spelled;
    AppendUtf8(spelled, letter);
    symbol_of_byte[ByteOfLetter(letter)] = tokens.Intern(spelled);
  }
  if (tokens.size() > static_cast<uint32_t>(options.vocab_size)) {
    return InvalidArgument(StrCat("'vocab_size' must be at least ", tokens.size(),
                                  ": the special tokens and 256 bytes"));
  }
  std::vector<uint32_t> symbols;
  for (uint32_t w = 0; w < trainer.words().size(); ++w) {
    symbols.clear();
    for (const char c : trainer.words()[w]) {
      symbols.push_back(symbol_of_byte[static_cast<uint8_t>(c)]);
    }
    trainer.AddWord(symbols, trainer.count(w));
  }
  trainer.Run();

  Json post_processor = ByteLevel(options.add_prefix_space, false);
  if (!options.bos_token.empty() || !options.eos_token.empty()) {
    SOTTO_ASSIGN_OR_RETURN(post_processor, Template(options.special_tokens, options.bos_token,
                                                    options.eos_token, true));
  }
  std::vector<Json> merges;
  merges.reserve(trainer.merges().size());
  for (const auto& [left, right] : trainer.merges()) {
    merges.push_back(Json::String(StrCat(tokens[left], " ", tokens[right])));
  }
  Json model = Type("BPE", {{"dropout", Json()},
                            {"unk_token", Json()},
                            {"continuing_subword_prefix", Json()},
                            {"end_of_word_suffix", Json()},
                            {"fuse_unk", Json::Bool(false)},
                            {"byte_fallback", Json::Bool(false)},
                            {"ignore_merges", Json::Bool(false)},
                            {"vocab", Vocabulary(tokens)},
                            {"merges", Json::Array(std::move(merges))}});
  return Document(options.special_tokens, BpeNormalizer(options), BpePreTokenizer(options),
                  std::move(post_processor), ByteLevel(true, true), std::move(model));
}

Result<std::string> TrainWordPiece(const WordCounts& words, const TrainWordPieceOptions& options) {
  constexpr std::string_view kPrefix = "##";
  SOTTO_RETURN_IF_ERROR(CheckSpecialTokens(options.special_tokens, options.vocab_size));
  for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
    SOTTO_RETURN_IF_ERROR(SpecialId(options.special_tokens, token).status());
  }
  VocabTrainer trainer(words, options.min_frequency, static_cast<size_t>(options.vocab_size), 0,
                       kPrefix);
  StringTable& tokens = trainer.tokens();
  for (const std::string& token : options.special_tokens) tokens.Intern(token);
  std::vector<char32_t> alphabet =
      Alphabet(trainer, static_cast<size_t>(std::max(options.limit_alphabet, 1)));
  std::string spelled;
  for (const char32_t c : alphabet) {
    spelled.clear();
    AppendUtf8(spelled, c);
    tokens.Intern(spelled);
  }
  std::vector<uint32_t> symbols;
  for (uint32_t w = 0; w < trainer.words().size(); ++w) {
    const std::string_view word = trainer.words()[w];
    symbols.clear();
    for (size_t i = 0; i < word.size();) {
      const Utf8Char c = DecodeUtf8(word, i);
      if (std::binary_search(alphabet.begin(), alphabet.end(), c.code)) {
        spelled = i == 0 ? "" : kPrefix;
        AppendUtf8(spelled, c.code);
        symbols.push_back(tokens.Intern(spelled));
      }
      i += c.length;
    }
    trainer.AddWord(symbols, trainer.count(w));
  }
  if (tokens.size() > static_cast<uint32_t>(options.vocab_size)) {
    return InvalidArgument(StrCat("'vocab_size' must be at least ", tokens.size(),
                                  ": the special tokens and the alphabet (see limit_alphabet)"));
  }
  trainer.Run();

  SOTTO_ASSIGN_OR_RETURN(Json post_processor,
                         Template(options.special_tokens, "[CLS]", "[SEP]", false));
  Json model = Type("WordPiece", {{"unk_token", Json::String("[UNK]")},
                                  {"continuing_subword_prefix", Json::String("##")},
                                  {"max_input_chars_per_word", Json::Int(100)},
                                  {"vocab", Vocabulary(tokens)}});
  return Document(
      options.special_tokens, WordPieceNormalizer(options), Type("BertPreTokenizer"),
      std::move(post_processor),
      Type("WordPiece", {{"prefix", Json::String("##")}, {"cleanup", Json::Bool(true)}}),
      std::move(model));
}

Result<std::string> TrainWordLevel(const WordCounts& words, const TrainWordPieceOptions& options) {
  SOTTO_RETURN_IF_ERROR(CheckSpecialTokens(options.special_tokens, options.vocab_size));
  SOTTO_RETURN_IF_ERROR(SpecialId(options.special_tokens, "[UNK]").status());
  const StringTable& all = words.impl_->words;
  std::vector<std::pair<int64_t, std::string_view>> order;
  for (uint32_t w = 0; w < all.size(); ++w) {
    const int64_t count = words.impl_->counts[w];
    if (count >= options.min_frequency) order.emplace_back(-count, all[w]);
  }
  std::sort(order.begin(), order.end());
  StringTable tokens;
  for (const std::string& token : options.special_tokens) tokens.Intern(token);
  for (const auto& [count, word] : order) {
    if (tokens.size() < static_cast<uint32_t>(options.vocab_size)) tokens.Intern(word);
  }
  SOTTO_ASSIGN_OR_RETURN(Json post_processor,
                         Template(options.special_tokens, "[CLS]", "[SEP]", false));
  return Document(
      options.special_tokens, WordPieceNormalizer(options), Type("BertPreTokenizer"),
      std::move(post_processor),
      Type("WordPiece", {{"prefix", Json::String("##")}, {"cleanup", Json::Bool(true)}}),
      Type("WordLevel", {{"vocab", Vocabulary(tokens)}, {"unk_token", Json::String("[UNK]")}}));
}

}  // namespace sotto
