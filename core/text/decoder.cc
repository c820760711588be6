#include "core/text/decoder.h"

#include <algorithm>
#include <utility>

#include "core/base/utf8.h"
#include "core/text/byte_alphabet.h"

namespace sotto {
namespace {

class StringSink final : public TextSink {
 public:
  explicit StringSink(std::string* out) : out_(out) {}
  void Text(std::string_view text) override { out_->append(text); }
  void EndToken() override {}
  void Finish() override {}

 private:
  std::string* out_;
};

// A stage that needs a token whole.
class TokenStage : public TextSink {
 public:
  explicit TokenStage(TextSink* next) : next_(next) {}
  void Text(std::string_view text) override { token_.append(text); }
  void EndToken() override {
    Token(token_);
    token_.clear();
  }
  void Finish() override { next_->Finish(); }

 protected:
  virtual void Token(std::string& token) = 0;
  void Emit(std::string_view token) {
    next_->Text(token);
    next_->EndToken();
  }
  TextSink* next_;

 private:
  std::string token_;
};

void ReplaceAll(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Letters become the bytes that they stand for; all tokens become one text.
class ByteLevelStage final : public TokenStage {
 public:
  using TokenStage::TokenStage;
  void Finish() override {
    next_->Text(ReplaceInvalidUtf8(bytes_));
    bytes_.clear();
    next_->EndToken();
    next_->Finish();
  }

 protected:
  void Token(std::string& token) override {
    const size_t before = bytes_.size();
    for (size_t i = 0; i < token.size();) {
      const Utf8Char c = DecodeUtf8(token, i);
      const int byte = ByteOfLetter(c.code);
      if (byte < 0) {  // not spelled in letters: the token stands for itself
        bytes_.resize(before);
        bytes_ += token;
        break;
      }
      bytes_.push_back(static_cast<char>(byte));
      i += static_cast<size_t>(c.length);
    }
    const size_t complete = CompleteUtf8Prefix(bytes_);
    if (complete == 0) return;
    next_->Text(ReplaceInvalidUtf8(std::string_view(bytes_).substr(0, complete)));
    bytes_.erase(0, complete);
  }

 private:
  std::string bytes_;
};

// WordPiece's: no blanks before punctuation and English contractions.
void CleanUp(std::string& token) {
  static constexpr std::string_view kCleaned[][2] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kCleaned) ReplaceAll(token, from, to);
}

class WordPieceStage final : public TokenStage {
 public:
  WordPieceStage(TextSink* next, std::string prefix, bool clean_up)
      : TokenStage(next), prefix_(std::move(prefix)), clean_up_(clean_up) {}

 protected:
  void Token(std::string& token) override {
    if (!first_) {
      if (token.starts_with(prefix_)) {
        token.erase(0, prefix_.size());
      } else {
        token.insert(token.begin(), ' ');
      }
    }
    first_ = false;
    if (clean_up_) CleanUp(token);
    Emit(token);
  }

 private:
  std::string prefix_;
  bool clean_up_, first_ = true;
};

class MetaspaceStage final : public TokenStage {
 public:
  MetaspaceStage(TextSink* next, std::string replacement, bool drop_first)
      : TokenStage(next), replacement_(std::move(replacement)), drop_(drop_first) {}

 protected:
  void Token(std::string& token) override {
    ReplaceAll(token, replacement_, drop_ ? "" : " ");
    drop_ = false;
    Emit(token);
  }

 private:
  std::string replacement_;
  bool drop_;
};

// Sennrich's: a suffix marks the end of a word, and becomes a blank but in the last token.
class BpeStage final : public TokenStage {
 public:
  BpeStage(TextSink* next, std::string suffix) : TokenStage(next), suffix_(std::move(suffix)) {}
  void Finish() override {
    if (holds_) {
      ReplaceAll(held_, suffix_, "");
      Emit(held_);
    }
    holds_ = false;
    next_->Finish();
  }

 protected:
  void Token(std::string& token) override {
    std::swap(held_, token);
    if (holds_) {
      ReplaceAll(token, suffix_, " ");
      Emit(token);
    }
    holds_ = true;
  }

 private:
  std::string suffix_, held_;
  bool holds_ = false;
};

// Connectionist temporal classification: what is said several times in a row counts once, and the
// padding token separates.
class CtcStage final : public TokenStage {
 public:
  CtcStage(TextSink* next, std::string pad, std::string delimiter, bool clean_up)
      : TokenStage(next),
        pad_(std::move(pad)),
        delimiter_(std::move(delimiter)),
        clean_up_(clean_up) {}

 protected:
  void Token(std::string& token) override {
    if (!first_ && token == last_) return;
    first_ = false;
    last_ = token;
    ReplaceAll(token, pad_, "");
    if (clean_up_) {
      CleanUp(token);
      ReplaceAll(token, delimiter_, " ");
    }
    if (!token.empty()) Emit(token);
  }

 private:
  std::string pad_, delimiter_, last_;
  bool clean_up_, first_ = true;
};

// Runs of tokens <0x00>..<0xFF> become their text, or one U+FFFD each where they are not UTF-8.
class ByteFallbackStage final : public TokenStage {
 public:
  using TokenStage::TokenStage;
  void Finish() override {
    Flush();
    next_->Finish();
  }

 protected:
  void Token(std::string& token) override {
    const int byte = ByteOf(token);
    if (byte >= 0) {
      bytes_.push_back(static_cast<char>(byte));
      return;
    }
    Flush();
    Emit(token);
  }

 private:
  static int ByteOf(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
    int value = 0;
    for (const char c : token.substr(3, 2)) {
      const char lower = static_cast<char>(c | 0x20);
      const bool digit = c >= '0' && c <= '9';
      if (!digit && (lower < 'a' || lower > 'f')) return -1;
      value = value * 16 + (digit ? c - '0' : lower - 'a' + 10);
    }
    return value;
  }
  void Flush() {
    if (bytes_.empty()) return;
    if (IsValidUtf8(bytes_)) {
      Emit(bytes_);
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) Emit("\xEF\xBF\xBD");
    }
    bytes_.clear();
  }
  std::string bytes_;
};

class FuseStage final : public TextSink {
 public:
  explicit FuseStage(TextSink* next) : next_(next) {}
  void Text(std::string_view text) override { next_->Text(text); }
  void EndToken() override {}
  void Finish() override {
    next_->EndToken();
    next_->Finish();
  }

 private:
  TextSink* next_;
};

// Drops up to `start` characters `content` from the front of each token, and `stop` from its end.
class StripStage final : public TextSink {
 public:
  StripStage(TextSink* next, std::string content, int64_t start, int64_t stop)
      : next_(next), content_(std::move(content)), start_(start), stop_(stop) {}
  void Text(std::string_view text) override {
    for (size_t i = 0; i < text.size(); i += static_cast<size_t>(DecodeUtf8(text, i).length)) {
      Char(text.substr(i, static_cast<size_t>(DecodeUtf8(text, i).length)));
    }
  }
  void EndToken() override {
    for (int64_t i = stop_; i < held_; ++i) next_->Text(content_);
    held_ = dropped_ = 0;
    at_start_ = true;
    next_->EndToken();
  }
  void Finish() override { next_->Finish(); }

 private:
  void Char(std::string_view c) {
    const bool is_content = c == content_;
    if (at_start_ && is_content && dropped_ < start_) {
      ++dropped_;
      return;
    }
    at_start_ = false;
    if (is_content && stop_ > 0) {
      // Of more than `stop` in a row only the last ones can be at the end.
      if (held_ == stop_) {
        next_->Text(content_);
      } else {
        ++held_;
      }
      return;
    }
    for (; held_ > 0; --held_) next_->Text(content_);
    next_->Text(c);
  }
  TextSink* next_;
  std::string content_;
  int64_t start_, stop_, dropped_ = 0, held_ = 0;
  bool at_start_ = true;
};

// Replaces a literal within each token; holds back what may be its beginning.
class ReplaceStage final : public TextSink {
 public:
  ReplaceStage(TextSink* next, std::string from, std::string to)
      : next_(next), from_(std::move(from)), to_(std::move(to)) {}
  void Text(std::string_view text) override {
    if (from_.empty()) return next_->Text(text);
    held_.append(text);
    size_t done = 0;
    for (size_t at; (at = held_.find(from_, done)) != std::string::npos;) {
      next_->Text(std::string_view(held_).substr(done, at - done));
      next_->Text(to_);
      done = at + from_.size();
    }
    size_t keep = std::min(held_.size() - done, from_.size() - 1);
    while (keep > 0 && !from_.starts_with(std::string_view(held_).substr(held_.size() - keep))) {
      --keep;
    }
    next_->Text(std::string_view(held_).substr(done, held_.size() - keep - done));
    held_.erase(0, held_.size() - keep);
  }
  void EndToken() override {
    next_->Text(held_);
    held_.clear();
    next_->EndToken();
  }
  void Finish() override { next_->Finish(); }

 private:
  TextSink* next_;
  std::string from_, to_, held_;
};

// Without a decoder tokens are joined by blanks.
class JoinStage final : public TextSink {
 public:
  explicit JoinStage(TextSink* next) : next_(next) {}
  void Text(std::string_view text) override {
    if (begins_ && !first_) next_->Text(" ");
    begins_ = first_ = false;
    next_->Text(text);
  }
  void EndToken() override {
    begins_ = true;
    next_->EndToken();
  }
  void Finish() override { next_->Finish(); }

 private:
  TextSink* next_;
  bool first_ = true, begins_ = true;
};

}  // namespace

Status Decoder::Add(const Json& spec) {
  SOTTO_ASSIGN_OR_RETURN(const std::string type, spec.StringAt("type"));
  if (type == "Sequence") {
    if (!spec["decoders"].is_array()) return InvalidFile("a decoder Sequence lacks its 'decoders'");
    for (const Json& part : spec["decoders"].items()) SOTTO_RETURN_IF_ERROR(Add(part));
    return OkStatus();
  }
  if (type == "ByteLevel") {
    stages_.push_back([](TextSink* next) { return std::make_unique<ByteLevelStage>(next); });
  } else if (type == "ByteFallback") {
    stages_.push_back([](TextSink* next) { return std::make_unique<ByteFallbackStage>(next); });
  } else if (type == "Fuse") {
    stages_.push_back([](TextSink* next) { return std::make_unique<FuseStage>(next); });
  } else if (type == "WordPiece") {
    SOTTO_ASSIGN_OR_RETURN(const std::string prefix, spec.StringOr("prefix", "##"));
    SOTTO_ASSIGN_OR_RETURN(const bool clean_up, spec.BoolOr("cleanup", true));
    stages_.push_back(
        [=](TextSink* next) { return std::make_unique<WordPieceStage>(next, prefix, clean_up); });
  } else if (type == "Metaspace") {
    SOTTO_ASSIGN_OR_RETURN(const std::string replacement,
                           spec.StringOr("replacement", "\xE2\x96\x81"));
    SOTTO_ASSIGN_OR_RETURN(const bool add_prefix, spec.BoolOr("add_prefix_space", true));
    SOTTO_ASSIGN_OR_RETURN(const std::string scheme,
                           spec.StringOr("prepend_scheme", add_prefix ? "always" : "never"));
    if (replacement.empty()) return InvalidFile("Metaspace's 'replacement' must be one character");
    const bool drop = scheme != "never";
    stages_.push_back(
        [=](TextSink* next) { return std::make_unique<MetaspaceStage>(next, replacement, drop); });
  } else if (type == "BPEDecoder") {
    SOTTO_ASSIGN_OR_RETURN(const std::string suffix, spec.StringOr("suffix", "</w>"));
    if (suffix.empty()) return InvalidFile("BPEDecoder's 'suffix' is empty");
    stages_.push_back([=](TextSink* next) { return std::make_unique<BpeStage>(next, suffix); });
  } else if (type == "CTC") {
    SOTTO_ASSIGN_OR_RETURN(const std::string pad, spec.StringOr("pad_token", "<pad>"));
    SOTTO_ASSIGN_OR_RETURN(const std::string delimiter, spec.StringOr("word_delimiter_token", "|"));
    SOTTO_ASSIGN_OR_RETURN(const bool clean_up, spec.BoolOr("cleanup", true));
    if (pad.empty() || delimiter.empty()) return InvalidFile("a token of the CTC decoder is empty");
    stages_.push_back(
        [=](TextSink* next) { return std::make_unique<CtcStage>(next, pad, delimiter, clean_up); });
  } else if (type == "Strip") {
    SOTTO_ASSIGN_OR_RETURN(const std::string content, spec.StringAt("content"));
    SOTTO_ASSIGN_OR_RETURN(const int64_t start, spec.IntOr("start", 0, 0, 1 << 20));
    SOTTO_ASSIGN_OR_RETURN(const int64_t stop, spec.IntOr("stop", 0, 0, 1 << 20));
    stages_.push_back(
        [=](TextSink* next) { return std::make_unique<StripStage>(next, content, start, stop); });
  } else if (type == "Replace") {
    const Json& pattern = spec["pattern"];
    if (!pattern["String"].is_string()) {
      return Unsupported(StrCat("the decoder Replace with the pattern ", pattern.Dump()));
    }
    SOTTO_ASSIGN_OR_RETURN(const std::string content, spec.StringAt("content"));
    stages_.push_back([from = pattern["String"].as_string(), content](TextSink* next) {
      return std::make_unique<ReplaceStage>(next, from, content);
    });
  } else {
    return Unsupported(StrCat("the decoder '", type, "'"));
  }
  return OkStatus();
}

Result<Decoder> Decoder::FromJson(const Json& spec, bool clean_up) {
  Decoder decoder;
  if (spec.is_null()) {
    decoder.stages_.push_back([](TextSink* next) { return std::make_unique<JoinStage>(next); });
  } else {
    SOTTO_RETURN_IF_ERROR(decoder.Add(spec));
  }
  if (clean_up) {
    static constexpr const char* kCleaned[][2] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
        {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    decoder.stages_.push_back([](TextSink* next) { return std::make_unique<FuseStage>(next); });
    for (const auto& pair : kCleaned) {
      decoder.stages_.push_back(
          [from = std::string(pair[0]), to = std::string(pair[1])](TextSink* next) {
            return std::make_unique<ReplaceStage>(next, from, to);
          });
    }
  }
  return decoder;
}

Decoder::Chain Decoder::Start(std::string* out) const {
  Chain chain;
  chain.stages_.push_back(std::make_unique<StringSink>(out));
  for (size_t i = stages_.size(); i-- > 0;) {
    chain.stages_.push_back(stages_[i](chain.stages_.back().get()));
  }
  return chain;
}

}  // namespace sotto
