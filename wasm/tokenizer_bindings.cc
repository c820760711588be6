#include "wasm/tokenizer_bindings.h"

#include <cstddef>

#include "core/base/json.h"
#include "core/base/utf8.h"
#include "core/run/model_tokenizer.h"

namespace sotto::wasm {
namespace {

using emscripten::val;

struct Encoded {
  std::string code, message;
  Int32Array ids = Int32Array(val::undefined()), type_ids = Int32Array(val::undefined()),
             special = Int32Array(val::undefined());
  Uint32Array offsets =
      Uint32Array(val::undefined());  // begin, end, begin, end, ... in UTF-16 units
  std::string tokens;  // one after another: a string for each costs more than it says
  Uint32Array token_ends = Uint32Array(val::undefined());  // in `tokens`, in UTF-16 units
};

struct LoadedTokenizer {
  std::string code, message;
  std::shared_ptr<BoundTokenizer> tokenizer;
};

std::vector<uint32_t> Utf16(const Encoding& encoding, const std::string& text,
                            const std::string& pair) {
  std::vector<uint32_t> out(2 * encoding.size()), bytes;
  for (const int32_t sequence : {0, 1}) {
    bytes.clear();
    bytes.reserve(out.size());
    for (size_t i = 0; i < encoding.size(); ++i) {
      if (encoding.sequence_ids[i] != sequence) continue;
      bytes.push_back(encoding.offsets[i].first);
      bytes.push_back(encoding.offsets[i].second);
    }
    const std::vector<uint32_t> units = Utf16Offsets(sequence == 0 ? text : pair, bytes);
    auto next = units.begin();
    for (size_t i = 0; i < encoding.size(); ++i) {
      if (encoding.sequence_ids[i] != sequence) continue;
      out[2 * i] = *next++;
      out[2 * i + 1] = *next++;
    }
  }
  return out;
}

LoadedTokenizer Load(Files& bound) {
  const ModelFiles files = bound.Take();
  auto loaded = TokenizerOf(files);
  const auto [code, message] = FailureOf(loaded.status());
  if (!loaded.ok()) return {code, message, nullptr};
  auto shared = std::make_shared<const Tokenizer>(*std::move(loaded));
  return {"", "", std::make_shared<BoundTokenizer>(std::move(shared))};
}

Encoded Encode(const BoundTokenizer& tokenizer, const std::string& text, const std::string& pair,
               bool has_pair, bool add_special, bool parse_special, int max_length) {
  EncodeOptions options;
  options.add_special_tokens = add_special;
  options.parse_special = parse_special;
  options.max_length = max_length;
  const auto result =
      has_pair ? tokenizer->EncodePair(text, pair, options) : tokenizer->Encode(text, options);
  Encoded out;
  const auto failure = FailureOf(result.status());
  out.code = failure.code;
  out.message = failure.message;
  if (!result.ok()) return out;
  out.ids = Ints(result->ids);
  out.type_ids = Ints(result->type_ids);
  out.special = Ints(result->special_tokens_mask);
  out.offsets = CopyOut<Uint32Array>("Uint32Array", Utf16(*result, text, pair));
  std::vector<uint32_t> ends;
  ends.reserve(result->size());
  for (const int32_t id : result->ids) {
    out.tokens += ReplaceInvalidUtf8(tokenizer->IdToToken(id));
    ends.push_back(static_cast<uint32_t>(out.tokens.size()));
  }
  out.token_ends = CopyOut<Uint32Array>("Uint32Array", Utf16Offsets(out.tokens, ends));
  return out;
}

std::string Decode(const BoundTokenizer& tokenizer, const Int32Array& ids, bool skip_special) {
  return tokenizer->Decode(emscripten::convertJSArrayToNumberVector<int32_t>(ids), skip_special);
}

int VocabSize(const BoundTokenizer& tokenizer) { return tokenizer->vocab_size(); }
// What a chat is written with, as JSON: see ChatFacts.
std::string Chat(const BoundTokenizer& tokenizer) {
  std::vector<Json::Member> named;
  for (auto& [name, token] : tokenizer->named_tokens())
    named.emplace_back(name, Json::String(token));
  std::vector<Json> special;
  for (std::string& token : tokenizer->special_tokens())
    special.push_back(Json::String(std::move(token)));
  return Json::Object({{"template", Json::String(tokenizer->chat_template())},
                       {"named_tokens", Json::Object(std::move(named))},
                       {"special_tokens", Json::Array(std::move(special))}})
      .Dump();
}

std::string MaskToken(const BoundTokenizer& tokenizer) {
  const auto id = tokenizer->mask_id();
  return std::string(id ? tokenizer->IdToToken(*id) : "");
}

}  // namespace

EMSCRIPTEN_BINDINGS(tokenizer) {
  using namespace emscripten;  // NOLINT: the names of the binding language

  register_type<Int32Array>("Int32Array<ArrayBuffer>");
  register_type<Uint32Array>("Uint32Array<ArrayBuffer>");

  value_object<Failure>("Failure")
      .field("code", &Failure::code)
      .field("message", &Failure::message);

  class_<Files>("Files").constructor<>().function("setText", &Files::SetText);
  value_object<Encoded>("Encoded")
      .field("code", &Encoded::code)
      .field("message", &Encoded::message)
      .field("ids", &Encoded::ids)
      .field("typeIds", &Encoded::type_ids)
      .field("special", &Encoded::special)
      .field("offsets", &Encoded::offsets)
      .field("tokens", &Encoded::tokens)
      .field("tokenEnds", &Encoded::token_ends);
  class_<BoundTokenizer>("Tokenizer")
      .smart_ptr<std::shared_ptr<BoundTokenizer>>("SharedTokenizer")
      .class_function("load", &Load)
      .function("encode", &Encode)
      .function("decode", &Decode)
      .function("vocabSize", &VocabSize)
      .function("chat", &Chat)
      .function("maskToken", &MaskToken);
  value_object<LoadedTokenizer>("LoadedTokenizer")
      .field("code", &LoadedTokenizer::code)
      .field("message", &LoadedTokenizer::message)
      .field("tokenizer", &LoadedTokenizer::tokenizer);
}

}  // namespace sotto::wasm
