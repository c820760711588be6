#include "core/text/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "core/base/utf8.h"
#include "core/text/string_table.h"
#include "core/text/tokenizer_json.h"

namespace sotto {
namespace {

constexpr size_t kMaxPieces = size_t{1} << 22;

// A protobuf message: fields of varints, fixed widths and byte strings. Groups are refused.
class Message {
 public:
  // `offset`: where the bytes begin in the file, for errors.
  Message(std::string_view bytes, size_t offset) : bytes_(bytes), offset_(offset) {}

  bool AtEnd() const { return at_ == bytes_.size(); }
  // Reads the next field: its number, and its value in what its wire type says.
  Status Next() {
    SOTTO_ASSIGN_OR_RETURN(const uint64_t key, Varint());
    number = key >> 3;
    wire = static_cast<int>(key & 7);
    if (number == 0 || number >= (1u << 29)) return Broken("a field's number");
    if (wire == 0) {
      SOTTO_ASSIGN_OR_RETURN(integer, Varint());
      return OkStatus();
    }
    if (wire != 1 && wire != 2 && wire != 5) return Broken("a field's wire type");
    uint64_t size = wire == 1 ? 8 : 4;
    if (wire == 2) {
      SOTTO_ASSIGN_OR_RETURN(size, Varint());
    }
    if (size > bytes_.size() - at_) return Broken("a field's length");
    text = bytes_.substr(at_, static_cast<size_t>(size));
    text_offset = offset_ + at_;
    at_ += static_cast<size_t>(size);
    return OkStatus();
  }
  Status Expect(int type) const {
    return wire == type ? OkStatus() : Broken(StrCat("the type of field ", number));
  }
  Status Broken(std::string_view what) const {
    return InvalidFile(
        StrCat("the SentencePiece model is malformed at byte ", offset_ + at_, ": ", what));
  }

  uint64_t number = 0;
  int wire = 0;
  uint64_t integer = 0;
  std::string_view text;
  size_t text_offset = 0;

 private:
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (AtEnd()) return Broken("it is cut short");
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return Broken("a number of more than 64 bits");
  }

  std::string_view bytes_;
  size_t offset_, at_ = 0;
};

Status ReadPiece(Message message, SentencePieceModel::Piece& piece) {
  while (!message.AtEnd()) {
    SOTTO_RETURN_IF_ERROR(message.Next());
    if (message.number == 1) {
      SOTTO_RETURN_IF_ERROR(message.Expect(2));
      if (!IsValidUtf8(message.text)) return message.Broken("a piece that is not UTF-8");
      piece.text = message.text;
    } else if (message.number == 2) {
      SOTTO_RETURN_IF_ERROR(message.Expect(5));
      uint32_t bits = 0;
      for (size_t i = 4; i-- > 0;) bits = bits << 8 | static_cast<uint8_t>(message.text[i]);
      std::memcpy(&piece.score, &bits, sizeof(bits));
      if (!(std::abs(piece.score) < 1e30f)) return message.Broken("a piece's score");
    } else if (message.number == 3) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      if (message.integer < 1 || message.integer > 6) return message.Broken("a piece's type");
      piece.type = static_cast<SentencePieceModel::PieceType>(message.integer);
    }
  }
  return piece.text.empty() ? message.Broken("an empty piece") : OkStatus();
}

Status ReadTrainerSpec(Message message, SentencePieceModel& model) {
  while (!message.AtEnd()) {
    SOTTO_RETURN_IF_ERROR(message.Next());
    if (message.number == 3) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      if (message.integer < 1 || message.integer > 4) {
        return Unsupported(StrCat("the SentencePiece model type ", message.integer));
      }
      model.type = static_cast<SentencePieceModel::Type>(message.integer);
    } else if (message.number == 24 && message.integer != 0) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      return Unsupported("a SentencePiece model with treat_whitespace_as_suffix");
    } else if (message.number == 35) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      model.byte_fallback = message.integer != 0;
    } else if (message.number == 40) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      if (message.integer >= kMaxPieces) return message.Broken("unk_id");
      model.unknown_id = static_cast<int32_t>(message.integer);
    }
  }
  return OkStatus();
}

Status ReadNormalizerSpec(Message message, SentencePieceModel& model) {
  while (!message.AtEnd()) {
    SOTTO_RETURN_IF_ERROR(message.Next());
    if (message.number == 2) {
      SOTTO_RETURN_IF_ERROR(message.Expect(2));
      model.charsmap = message.text;
    } else if (message.number >= 3 && message.number <= 5) {
      SOTTO_RETURN_IF_ERROR(message.Expect(0));
      bool& flag = message.number == 3   ? model.add_dummy_prefix
                   : message.number == 4 ? model.remove_extra_whitespaces
                                         : model.escape_whitespaces;
      flag = message.integer != 0;
    }
  }
  return OkStatus();
}

}  // namespace

Result<SentencePieceModel> SentencePieceModel::Parse(std::string_view bytes) {
  SentencePieceModel model;
  Message message(bytes, 0);
  while (!message.AtEnd()) {
    SOTTO_RETURN_IF_ERROR(message.Next());
    if (message.number < 1 || message.number > 3) continue;  // self-tests and what is unknown
    SOTTO_RETURN_IF_ERROR(message.Expect(2));
    const Message inner(message.text, message.text_offset);
    if (message.number == 1) {
      if (model.pieces.size() == kMaxPieces) return message.Broken("more than 4194304 pieces");
      SOTTO_RETURN_IF_ERROR(ReadPiece(inner, model.pieces.emplace_back()));
    } else if (message.number == 2) {
      SOTTO_RETURN_IF_ERROR(ReadTrainerSpec(inner, model));
    } else {
      SOTTO_RETURN_IF_ERROR(ReadNormalizerSpec(inner, model));
    }
  }
  if (model.pieces.empty()) return InvalidFile("the SentencePiece model has no pieces");
  if (static_cast<size_t>(model.unknown_id) >= model.pieces.size()) {
    return InvalidFile(StrCat("the SentencePiece model's unk_id ", model.unknown_id,
                              " is past its ", model.pieces.size(), " pieces"));
  }
  return model;
}

std::vector<Json> MergesOfPieces(const std::vector<std::pair<std::string, double>>& pieces,
                                 const std::vector<bool>& skipped) {
  StringTable table;
  std::vector<int32_t> id_of;  // by number in the table
  for (size_t i = 0; i < pieces.size(); ++i) {
    const uint32_t number = table.Intern(pieces[i].first);
    if (number == id_of.size()) id_of.push_back(0);
    id_of[number] = static_cast<int32_t>(i);
  }
  const auto skips = [&](size_t id) { return id < skipped.size() && skipped[id]; };
  struct Merge {
    double score;
    uint32_t left_chars, right_chars;
    int32_t left, right;
  };
  std::vector<Merge> merges;
  constexpr size_t kMaxPieceBytes = 1024;  // longer ones are not made by merging
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view text = pieces[i].first;
    if (skips(i) || text.size() > kMaxPieceBytes) continue;
    const auto is_begin = [&](size_t at) {
      return (static_cast<uint8_t>(text[at]) & 0xC0) != 0x80;
    };
    uint32_t chars = 0;
    for (size_t at = 0; at < text.size(); ++at) chars += is_begin(at) ? 1 : 0;
    const size_t first = merges.size();
    uint32_t left_chars = 0;
    for (size_t at = 1; at < text.size(); ++at) {
      if (!is_begin(at)) continue;
      ++left_chars;
      const int32_t l = table.Find(text.substr(0, at)), r = table.Find(text.substr(at));
      if (l < 0 || r < 0) continue;
      const int32_t left = id_of[static_cast<size_t>(l)], right = id_of[static_cast<size_t>(r)];
      if (skips(static_cast<size_t>(left)) || skips(static_cast<size_t>(right))) continue;
      merges.push_back({pieces[i].second, left_chars, chars - left_chars, left, right});
    }
    std::sort(merges.begin() + static_cast<ptrdiff_t>(first), merges.end(),
              [](const Merge& a, const Merge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_chars != b.left_chars) return a.left_chars > b.left_chars;
    return a.right_chars > b.right_chars;
  });
  std::vector<Json> out;
  out.reserve(merges.size());
  for (const Merge& m : merges) {
    const std::string& left = pieces[static_cast<size_t>(m.left)].first;
    const std::string& right = pieces[static_cast<size_t>(m.right)].first;
    if (left.find(' ') == std::string::npos && right.find(' ') == std::string::npos) {
      out.push_back(Json::String(StrCat(left, ' ', right)));
    } else {
      out.push_back(Json::Array({Json::String(left), Json::String(right)}));
    }
  }
  return out;
}

namespace {

using PieceType = SentencePieceModel::PieceType;
using tokenizer_json::AddedToken;
using tokenizer_json::Part;

Json WithScore(const std::string& piece, double score) {
  return Json::Array({Json::String(piece), Json::Number(score)});
}

bool IsSpelled(PieceType type) {
  return type == PieceType::kNormal || type == PieceType::kUserDefined;
}

Json OwnNormalizer(const SentencePieceModel& model) {
  std::vector<Json::Member> members = {
      {"remove_extra_whitespaces", Json::Bool(model.remove_extra_whitespaces)},
      {"add_dummy_prefix", Json::Bool(model.add_dummy_prefix)},
      {"escape_whitespaces", Json::Bool(model.escape_whitespaces)}};
  const Json precompiled = tokenizer_json::Precompiled(model.charsmap);
  members.push_back({"precompiled_charsmap", precompiled["precompiled_charsmap"]});
  return Part("SentencePiece", std::move(members));
}

}  // namespace

Result<Json> SentencePieceTokenizer(const SentencePieceModel& model, const Json& ids) {
  using Type = SentencePieceModel::Type;
  tokenizer_json::Members made;
  std::vector<Json::Member> vocabulary;
  std::vector<std::pair<std::string, double>> scored;
  std::vector<bool> skipped;
  std::vector<Json> pieces;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const SentencePieceModel::Piece& p = model.pieces[i];
    const auto id = static_cast<int64_t>(i);
    vocabulary.push_back({p.text, Json::Int(id)});
    scored.push_back({p.text, p.score});
    skipped.push_back(!IsSpelled(p.type) || (!ids.is_null() && !ids.has(p.text)));
    if (IsSpelled(p.type)) pieces.push_back(WithScore(p.text, p.score));
    if (ids.is_null() && (p.type == PieceType::kControl || p.type == PieceType::kUserDefined)) {
      made.added_tokens.push_back(
          AddedToken(id, p.text, {.special = p.type == PieceType::kControl}));
    }
  }
  const std::string& unknown = model.pieces[static_cast<size_t>(model.unknown_id)].text;
  const Json vocab = ids.is_null() ? Json::Object(std::move(vocabulary)) : ids;
  if (!vocab[unknown].is_int()) {
    return InvalidFile(StrCat("the vocabulary lacks the unknown token '", unknown, "'"));
  }
  made.normalizer = OwnNormalizer(model);
  made.decoder = tokenizer_json::BlankDecoder(model.byte_fallback, model.add_dummy_prefix);
  switch (model.type) {
    case Type::kUnigram:
    case Type::kChar:
      made.model = Part("Unigram", {{"vocab", vocab},
                                    {"pieces", Json::Array(std::move(pieces))},
                                    {"unk_id", vocab[unknown]},
                                    {"byte_fallback", Json::Bool(model.byte_fallback)}});
      break;
    case Type::kBpe:
      made.model = Part("BPE", {{"unk_token", Json::String(unknown)},
                                {"fuse_unk", Json::Bool(true)},
                                {"byte_fallback", Json::Bool(model.byte_fallback)},
                                {"vocab", vocab},
                                {"merges", Json::Array(MergesOfPieces(scored, skipped))}});
      break;
    case Type::kWord:
      made.model = Part(
          "WordLevel",
          {{"unk_token", Json::String(unknown)}, {"fuse_unk", Json::Bool(true)}, {"vocab", vocab}});
      break;
  }
  return tokenizer_json::Document(std::move(made));
}

}  // namespace sotto
