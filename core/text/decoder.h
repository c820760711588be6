// Decoders: from tokens back to text, as a chain of stages that text flows through. The same stages
// serve whole and streaming decoding, so both give the same text; a stage holds back what a later
// token could change.
#ifndef SOTTO_CORE_TEXT_DECODER_H_
#define SOTTO_CORE_TEXT_DECODER_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"

namespace sotto {

// Receives tokens as text: Text in any number of calls, EndToken after each token, Finish at last.
class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void Text(std::string_view text) = 0;
  virtual void EndToken() = 0;
  virtual void Finish() = 0;
};

class Decoder {
 public:
  // From the "decoder" member of tokenizer.json; null joins tokens by blanks. `clean_up` removes
  // the blanks before punctuation and English contractions.
  static Result<Decoder> FromJson(const Json& spec, bool clean_up);

  // A fresh chain that ends in `out`. The chain's first stage owns nothing of the others: keep all.
  class Chain {
   public:
    TextSink& front() { return *stages_.back(); }

   private:
    friend class Decoder;
    std::vector<std::unique_ptr<TextSink>> stages_;
  };
  Chain Start(std::string* out) const;

 private:
  using Stage = std::function<std::unique_ptr<TextSink>(TextSink*)>;
  Status Add(const Json& spec);
  std::vector<Stage> stages_;  // in the order that text flows
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_DECODER_H_
