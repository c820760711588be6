#include "core/train/data.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

#include "core/base/json.h"
#include "core/base/parallel.h"
#include "core/base/random.h"
#include "core/base/utf8.h"

namespace sotto {
namespace {

// One record: named values, each a text or a list of texts.
struct Field {
  std::string name;
  std::vector<std::string> values;
  bool is_list = false;
};
using Record = std::vector<Field>;

const Field* FindField(const Record& record, std::string_view name) {
  for (const Field& field : record) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

std::string ScalarText(const Json& value) {
  if (value.is_string()) return value.as_string();
  return value.is_null() ? std::string() : value.Dump();
}

Record RecordOf(const Json& object) {
  Record record;
  for (const auto& [name, value] : object.members()) {
    Field field{name, {}, value.is_array()};
    if (field.is_list) {
      for (const Json& item : value.items()) field.values.push_back(ScalarText(item));
    } else {
      field.values.push_back(ScalarText(value));
    }
    record.push_back(std::move(field));
  }
  return record;
}

bool Passes(const Record& record, const std::vector<RecordFilter>& filters) {
  for (const RecordFilter& filter : filters) {
    const Field* field = FindField(record, filter.field);
    if (field == nullptr || field->values.empty()) return false;
    const std::string& value = field->values[0];
    if (filter.equals && value != *filter.equals) return false;
    if (filter.min || filter.max) {
      char* end = nullptr;
      const double number = std::strtod(value.c_str(), &end);
      if (end == value.c_str()) return false;
      if (filter.min && number < *filter.min) return false;
      if (filter.max && number > *filter.max) return false;
    }
  }
  return true;
}

Result<int32_t> LabelOf(const Record& record, const SourceSpec& spec,
                        std::span<const std::string> labels) {
  if (spec.label.empty()) return -1;
  const Field* field = FindField(record, spec.label);
  if (field == nullptr || field->values.size() != 1) {
    return InvalidFile(StrCat("there is no label field '", spec.label, "'"));
  }
  const std::string& value = field->values[0];
  const auto named = std::find(labels.begin(), labels.end(), value);
  if (named != labels.end()) return static_cast<int32_t>(named - labels.begin());
  char* end = nullptr;
  const long number = std::strtol(value.c_str(), &end, 10);
  if (!value.empty() && *end == '\0' && number >= 0 && number < static_cast<long>(labels.size())) {
    return static_cast<int32_t>(number);
  }
  return InvalidFile(
      StrCat("the label '", value, "' is neither one of the recipe's labels nor its number"));
}

// The template's texts: one, or one for each item of the list that it names.
Result<std::vector<std::string>> Fill(const std::string& text_template, const Record& record) {
  std::vector<std::string> texts(1);
  for (size_t pos = 0; pos < text_template.size();) {
    const size_t open = text_template.find('{', pos);
    const size_t stop = std::min(open, text_template.size());
    for (std::string& text : texts) text.append(text_template, pos, stop - pos);
    if (open == std::string::npos) break;
    const size_t close = text_template.find('}', open);
    if (close == std::string::npos) return InvalidArgument("a '{' of the template is not closed");
    const std::string name = text_template.substr(open + 1, close - open - 1);
    const Field* field = FindField(record, name);
    if (field == nullptr) return InvalidFile(StrCat("there is no field '", name, "'"));
    std::vector<std::string> longer;
    for (const std::string& text : texts) {
      for (const std::string& value : field->values) longer.push_back(text + value);
    }
    texts = std::move(longer);
    pos = close + 1;
  }
  return texts;
}

Result<std::vector<std::string>> TextsOf(const Record& record, const SourceSpec& spec) {
  if (!spec.text_template.empty()) return Fill(spec.text_template, record);
  const Field* field = FindField(record, spec.field);
  if (field == nullptr) return InvalidFile(StrCat("there is no field '", spec.field, "'"));
  if (spec.speakers.empty()) return field->values;
  std::string dialogue;
  for (size_t turn = 0; turn < field->values.size(); ++turn) {
    std::string line = field->values[turn];
    std::replace(line.begin(), line.end(), '\n', ' ');
    if (turn > 0) dialogue += '\n';
    dialogue += spec.speakers[turn % spec.speakers.size()] + line;
  }
  return std::vector<std::string>{std::move(dialogue)};
}

Status AddRecord(const Record& record, const SourceSpec& spec, std::span<const std::string> labels,
                 std::vector<Document>& documents) {
  if (!Passes(record, spec.filters)) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(const int32_t label, LabelOf(record, spec, labels));
  SOTTO_ASSIGN_OR_RETURN(std::vector<std::string> texts, TextsOf(record, spec));
  if (spec.target.empty()) {
    for (std::string& text : texts) documents.push_back({std::move(text), label});
    return OkStatus();
  }
  const Field* targets = FindField(record, spec.target);
  if (targets == nullptr) return InvalidFile(StrCat("there is no field '", spec.target, "'"));
  for (const std::string& text : texts) {
    for (const std::string& target : targets->values) documents.push_back({text, label, target});
  }
  return OkStatus();
}

// Calls visit(line, number) for each line that is not empty, without its line break.
Status EachLine(std::string_view bytes, FunctionRef<Status(std::string_view, int64_t)> visit) {
  int64_t number = 0;
  for (size_t pos = 0; pos < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', pos), bytes.size());
    std::string_view line = bytes.substr(pos, end - pos);
    pos = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    if (Status status = visit(line, number); !status.ok())
      return status.In(StrCat("line ", number));
  }
  return OkStatus();
}

// One CSV row from `pos` on, which moves past its line break. (RFC 4180)
Result<std::vector<std::string>> CsvRow(std::string_view bytes, size_t& pos) {
  std::vector<std::string> cells(1);
  while (pos < bytes.size()) {
    const char c = bytes[pos];
    if (c == '"' && cells.back().empty()) {
      for (++pos;; ++pos) {
        if (pos >= bytes.size()) return InvalidFile("a quoted cell is not closed");
        if (bytes[pos] != '"') {
          cells.back() += bytes[pos];
        } else if (pos + 1 < bytes.size() && bytes[pos + 1] == '"') {
          cells.back() += '"';
          ++pos;
        } else {
          ++pos;
          break;
        }
      }
    } else if (c == ',') {
      cells.emplace_back();
      ++pos;
    } else if (c == '\n') {
      ++pos;
      break;
    } else {
      if (c != '\r') cells.back() += c;
      ++pos;
    }
  }
  return cells;
}

std::vector<std::string> TsvRow(std::string_view line) {
  std::vector<std::string> cells;
  for (size_t pos = 0; pos <= line.size();) {
    const size_t end = std::min(line.find('\t', pos), line.size());
    cells.emplace_back(line.substr(pos, end - pos));
    pos = end + 1;
  }
  return cells;
}

// Rows of a table become records named by the header.
class Table {
 public:
  Table(const SourceSpec& spec, std::span<const std::string> labels,
        std::vector<Document>& documents)
      : spec_(spec), labels_(labels), documents_(documents), columns_(spec.columns) {}

  Status Row(std::vector<std::string> cells) {
    if (columns_.empty()) {
      columns_ = std::move(cells);
      return OkStatus();
    }
    if (cells.size() != columns_.size()) {
      return InvalidFile(
          StrCat(cells.size(), " cells where there are ", columns_.size(), " columns"));
    }
    Record record;
    for (size_t i = 0; i < cells.size(); ++i)
      record.push_back({columns_[i], {std::move(cells[i])}, false});
    return AddRecord(record, spec_, labels_, documents_);
  }

 private:
  const SourceSpec& spec_;
  std::span<const std::string> labels_;
  std::vector<Document>& documents_;
  std::vector<std::string> columns_;
};

Status ReadCsv(std::string_view bytes, Table& table) {
  int64_t number = 0;
  for (size_t pos = 0; pos < bytes.size();) {
    ++number;
    SOTTO_ASSIGN_OR_RETURN(std::vector<std::string> cells, CsvRow(bytes, pos));
    if (cells.size() == 1 && cells[0].empty()) continue;
    if (Status status = table.Row(std::move(cells)); !status.ok())
      return status.In(StrCat("row ", number));
  }
  return OkStatus();
}

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

// Runs of blanks become one space, runs with a line break one line break.
void Collapse(std::string& text) {
  size_t out = 0;
  for (size_t i = 0; i < text.size();) {
    if (!IsBlank(text[i]) && text[i] != '\n') {
      text[out++] = text[i++];
      continue;
    }
    bool line = false;
    for (; i < text.size() && (IsBlank(text[i]) || text[i] == '\n'); ++i) line |= text[i] == '\n';
    text[out++] = line ? '\n' : ' ';
  }
  text.resize(out);
}

void Trim(std::string& text) {
  const auto blank = [](char c) { return IsBlank(c) || c == '\n'; };
  size_t end = text.size(), begin = 0;
  while (end > 0 && blank(text[end - 1])) --end;
  while (begin < end && blank(text[begin])) ++begin;
  text = text.substr(begin, end - begin);
}

void StraightenQuotes(std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const Utf8Char c = DecodeUtf8(text, pos);
    switch (c.code) {
      case 0x2018:
      case 0x2019:
      case 0x201A:
      case 0x2032:
        out += '\'';
        break;
      case 0x201C:
      case 0x201D:
      case 0x201E:
      case 0x2033:
        out += '"';
        break;
      case 0x2013:
        out += '-';
        break;
      case 0x2014:
      case 0x2015:
        out += "--";
        break;
      case 0x2026:
        out += "...";
        break;
      case 0x00A0:
      case 0x2009:
        out += ' ';
        break;
      default:
        out.append(text, pos, static_cast<size_t>(c.length));
    }
    pos += static_cast<size_t>(c.length);
  }
  text = std::move(out);
}

}  // namespace

Result<std::vector<Document>> ReadDocuments(std::string_view bytes, const SourceSpec& spec,
                                            std::span<const std::string> labels) {
  std::vector<Document> documents;
  Status status;
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);  // a byte-order mark
  switch (spec.format) {
    case DataFormat::kText:
      for (size_t pos = 0; pos <= bytes.size();) {
        const size_t found = spec.separator.empty() ? bytes.npos : bytes.find(spec.separator, pos);
        const size_t end = std::min(found, bytes.size());
        documents.push_back({std::string(bytes.substr(pos, end - pos)), -1});
        pos = found == bytes.npos ? bytes.size() + 1 : end + spec.separator.size();
      }
      break;
    case DataFormat::kLines:
      status = EachLine(bytes, [&](std::string_view line, int64_t) {
        documents.push_back({std::string(line), -1});
        return OkStatus();
      });
      break;
    case DataFormat::kJsonl:
      status = EachLine(bytes, [&](std::string_view line, int64_t) -> Status {
        SOTTO_ASSIGN_OR_RETURN(const Json json, Json::Parse(line));
        if (!json.is_object()) return InvalidFile("this is no JSON object");
        return AddRecord(RecordOf(json), spec, labels, documents);
      });
      break;
    case DataFormat::kCsv: {
      Table table(spec, labels, documents);
      status = ReadCsv(bytes, table);
      break;
    }
    case DataFormat::kTsv: {
      Table table(spec, labels, documents);
      status =
          EachLine(bytes, [&](std::string_view line, int64_t) { return table.Row(TsvRow(line)); });
      break;
    }
  }
  if (!status.ok()) return status;
  if (spec.max_documents > 0 && static_cast<int64_t>(documents.size()) > spec.max_documents) {
    documents.resize(static_cast<size_t>(spec.max_documents));
  }
  return documents;
}

bool CleanText(std::string& text, const CleanSpec& spec) {
  if (!IsValidUtf8(text)) text = ReplaceInvalidUtf8(text);
  if (spec.straight_quotes) StraightenQuotes(text);
  if (spec.collapse) Collapse(text);
  if (spec.trim) Trim(text);
  const int64_t size = static_cast<int64_t>(text.size());
  if (size < spec.min_chars || (spec.max_chars > 0 && size > spec.max_chars)) return false;
  return std::none_of(spec.drop_containing.begin(), spec.drop_containing.end(),
                      [&](const std::string& bad) { return text.find(bad) != std::string::npos; });
}

uint64_t FingerprintText(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ull;  // FNV-1a over letters, digits and what is not ASCII
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const bool kept =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || static_cast<uint8_t>(c) >= 0x80;
    if (kept) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
  }
  return Mix64(hash);
}

DataSplit SplitOf(uint64_t fingerprint, double validation_share, double test_share) {
  // Another mix than the one that sets draw from, so that a split says nothing of other hashes.
  const double place = static_cast<double>(Mix64(fingerprint ^ 0x53706C6974ull) >> 11) * 0x1p-53;
  if (place < test_share) return DataSplit::kTest;
  return place < test_share + validation_share ? DataSplit::kValidation : DataSplit::kTrain;
}

Corpus::Counts Corpus::Add(std::vector<Document> documents, int32_t source,
                           std::optional<DataSplit> fixed) {
  Counts counts;
  const bool held_out = fixed && *fixed != DataSplit::kTrain;
  CleanSpec clean_target = clean_;
  clean_target.min_chars = 1;
  clean_target.max_chars = 0;
  for (Document& document : documents) {
    ++counts.read;
    if (!CleanText(document.text, clean_) ||
        (document.target && !CleanText(*document.target, clean_target))) {
      ++counts.unclean;
      continue;
    }
    const uint64_t fingerprint = FingerprintText(document.text);
    uint64_t whole = fingerprint;
    if (document.target) whole = Mix64(whole ^ Mix64(FingerprintText(*document.target)));
    // A held-out set is a given: its own repetitions stay in it, and its texts out of training.
    const bool is_held = document.target && !held_out && seen_.count(fingerprint) > 0;
    const bool is_new = seen_.insert(whole).second && !is_held;
    if (held_out) seen_.insert(fingerprint);
    if (clean_.deduplicate && !is_new && !held_out) {
      ++counts.duplicate;
      continue;
    }
    const DataSplit split = fixed ? *fixed : SplitOf(fingerprint, validation_share_, test_share_);
    ++counts.kept[static_cast<size_t>(split)];
    part(split).documents.push_back(std::move(document));
    part(split).sources.push_back(source);
  }
  return counts;
}

Result<TokenizedDocuments> TokenizeDocuments(const Corpus::Part& part, const Tokenizer& tokenizer) {
  TokenizedDocuments out;
  for (size_t i = 0; i < part.documents.size(); ++i) {
    SOTTO_RETURN_IF_ERROR(tokenizer.EncodeIds(part.documents[i].text, false, out.ids));
    out.begins.push_back(static_cast<int64_t>(out.ids.size()));
    out.labels.push_back(part.documents[i].label);
    out.sources.push_back(part.sources[i]);
  }
  return out;
}

Result<TokenizedDocuments> TokenizePairs(const Corpus::Part& part, const Tokenizer& tokenizer,
                                         const PairLimits& limits) {
  TokenizedDocuments out;
  const auto encode = [&](const std::string& text, int64_t most) {
    return tokenizer.Encode(text, {.parse_special = false, .max_length = static_cast<int>(most)});
  };
  for (size_t i = 0; i < part.documents.size(); ++i) {
    const Document& document = part.documents[i];
    if (!document.target) return InvalidArgument("a text without a target is no pair");
    SOTTO_ASSIGN_OR_RETURN(Encoding source, encode(document.text, limits.max_tokens));
    SOTTO_ASSIGN_OR_RETURN(Encoding target, encode(*document.target, limits.max_target_tokens));
    if (limits.unknown >= 0) {
      std::vector<std::string> words;
      NumberUnknownWords(document.text, limits.unknown, limits.first_copied, true, words, source);
      NumberUnknownWords(*document.target, limits.unknown, limits.first_copied, false, words,
                         target);
    }
    if (target.ids.empty() || target.ids.back() != limits.end) {
      if (static_cast<int64_t>(target.ids.size()) == limits.max_target_tokens)
        target.ids.pop_back();
      target.ids.push_back(limits.end);
    }
    if (source.ids.empty()) continue;
    out.ids.insert(out.ids.end(), source.ids.begin(), source.ids.end());
    out.begins.push_back(static_cast<int64_t>(out.ids.size()));
    out.target_ids.insert(out.target_ids.end(), target.ids.begin(), target.ids.end());
    out.target_begins.push_back(static_cast<int64_t>(out.target_ids.size()));
    out.labels.push_back(document.label);
    out.sources.push_back(part.sources[i]);
  }
  return out;
}

}  // namespace sotto
