// From the bytes of a data file to clean, de-duplicated, split texts, and on to token ids. Files
// are opened elsewhere: here bytes come in. Nothing is shuffled or batched here.
#ifndef SOTTO_CORE_TRAIN_DATA_H_
#define SOTTO_CORE_TRAIN_DATA_H_

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/base/status.h"
#include "core/text/tokenizer.h"

namespace sotto {

enum class DataFormat : uint8_t {
  kText,   // one document, or several between `separator`
  kLines,  // one document a line
  kJsonl,  // one JSON object a line
  kCsv,    // RFC 4180: quotes, "" inside them, line breaks inside them
  kTsv,    // no quoting
};

enum class DataSplit : uint8_t { kTrain, kValidation, kTest };
inline constexpr int kSplits = 3;

// Keeps the records whose field is a number within bounds, or equals a text.
struct RecordFilter {
  std::string field;
  std::optional<double> min, max;
  std::optional<std::string> equals;
};

struct SourceSpec {
  std::string name, path;
  std::string url, licence;  // where it comes from: for people and for tools/fetch_data.mjs
  DataFormat format = DataFormat::kText;
  std::string separator;  // kText
  std::vector<std::string>
      columns;  // kCsv, kTsv: names of the columns; empty: the first line has them
  std::string field = "text";
  // Instead of `field`: text with {fields}. A field that is a list gives one document for each
  // item.
  std::string text_template;
  // `field` is a list of turns: each is prefixed by the next of these, and they are joined by line
  // breaks.
  std::vector<std::string> speakers;
  std::string label;   // the field with the class: its name, or its number
  std::string target;  // the field with what the text is to become
  std::vector<RecordFilter> filters;
  double upsample = 1;             // how often each document is seen in an epoch; 0.3: three in ten
  std::optional<DataSplit> split;  // the whole source goes there; none: split by hash
  int64_t max_documents = 0;       // 0: all
};

struct CleanSpec {
  bool trim = true;
  bool collapse = true;          // runs of blanks to one space, runs of line breaks to one
  bool straight_quotes = false;  // typographic quotes, dashes and ellipses to ASCII
  bool deduplicate = true;
  int64_t min_chars = 1, max_chars = 0;  // in bytes; max 0: no limit
  std::vector<std::string> drop_containing;
};

struct Document {
  std::string text;
  int32_t label = -1;
  std::optional<std::string> target = std::nullopt;  // of pairs: what the text is to become
};

// The documents of one file, as its spec says. Errors name the line.
Result<std::vector<Document>> ReadDocuments(std::string_view bytes, const SourceSpec& spec,
                                            std::span<const std::string> labels);

// Replaces invalid UTF-8, then does what the spec asks. False: the text is dropped.
bool CleanText(std::string& text, const CleanSpec& spec);

// Equal for texts that differ only in ASCII case, blanks and punctuation.
uint64_t FingerprintText(std::string_view text);
// Where a text goes: a pure function of its fingerprint, so that a source may grow or be reordered.
DataSplit SplitOf(uint64_t fingerprint, double validation_share, double test_share);

// All sources of a recipe together. Sources with a fixed validation or test split are to be added
// first: a training text that stands there too is dropped. Of pairs the text decides where they go,
// and the same text may come with several targets.
class Corpus {
 public:
  struct Part {
    std::vector<Document> documents;
    std::vector<int32_t> sources;  // of each document: its index in the recipe
  };
  struct Counts {
    int64_t read = 0, unclean = 0, duplicate = 0;
    std::array<int64_t, kSplits> kept{};
  };

  Corpus(CleanSpec clean, double validation_share, double test_share)
      : clean_(std::move(clean)), validation_share_(validation_share), test_share_(test_share) {}

  Counts Add(std::vector<Document> documents, int32_t source, std::optional<DataSplit> fixed);
  const Part& part(DataSplit split) const { return parts_[static_cast<size_t>(split)]; }
  Part& part(DataSplit split) { return parts_[static_cast<size_t>(split)]; }

 private:
  CleanSpec clean_;
  double validation_share_, test_share_;
  std::array<Part, kSplits> parts_;
  std::unordered_set<uint64_t> seen_;
};

// Documents as token ids, one after another.
struct TokenizedDocuments {
  std::vector<int32_t> ids;
  std::vector<int64_t> begins = {0};  // document i is ids[begins[i] .. begins[i + 1])
  std::vector<int32_t> labels;
  std::vector<int32_t> sources;
  std::vector<int32_t> target_ids;  // of pairs, in the same way
  std::vector<int64_t> target_begins = {0};

  int64_t size() const { return static_cast<int64_t>(begins.size()) - 1; }
  std::span<const int32_t> document(int64_t i) const {
    return {ids.data() + begins[i], static_cast<size_t>(begins[i + 1] - begins[i])};
  }
  std::span<const int32_t> target(int64_t i) const {
    return {target_ids.data() + target_begins[i],
            static_cast<size_t>(target_begins[i + 1] - target_begins[i])};
  }
};
// Text is data: special tokens that are spelled out in it stay plain text.
Result<TokenizedDocuments> TokenizeDocuments(const Corpus::Part& part, const Tokenizer& tokenizer);

struct PairLimits {
  int64_t max_tokens = 128, max_target_tokens = 128;  // special tokens included
  int32_t end = -1;                                   // that ends a target
  // Of a model that copies words which its vocabulary lacks: what it reads in their place, and the
  // first of their ids.
  int32_t unknown = -1, first_copied = 0;
};
// Pairs with the special tokens that the tokenizer puts around a text; a target that they do not
// end gets the end besides.
Result<TokenizedDocuments> TokenizePairs(const Corpus::Part& part, const Tokenizer& tokenizer,
                                         const PairLimits& limits);

}  // namespace sotto

#endif  // SOTTO_CORE_TRAIN_DATA_H_
