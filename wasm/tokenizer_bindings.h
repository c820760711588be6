// The tokenizer as JavaScript sees it, and what every binding needs. The module of the tokenizer
// alone has nothing else.
#ifndef SOTTO_WASM_TOKENIZER_BINDINGS_H_
#define SOTTO_WASM_TOKENIZER_BINDINGS_H_

#include <emscripten/bind.h>
#include <emscripten/val.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/io/model_folder.h"
#include "core/text/tokenizer.h"

namespace sotto::wasm {

EMSCRIPTEN_DECLARE_VAL_TYPE(Int32Array);
EMSCRIPTEN_DECLARE_VAL_TYPE(Uint32Array);

// A copy of its own, outside the heap (whose views go stale when it grows).
template <class Array, class T>
Array CopyOut(const char* type, const std::vector<T>& values) {
  const emscripten::val view(emscripten::typed_memory_view(values.size(), values.data()));
  return Array(emscripten::val::global(type).new_(view));
}

inline Int32Array Ints(const std::vector<int32_t>& values) {
  return CopyOut<Int32Array>("Int32Array", values);
}

// What went wrong, or an empty code.
struct Failure {
  std::string code, message;
};
inline Failure FailureOf(const Status& status) {
  if (status.ok()) return {};
  return {std::string(StatusCodeName(status.code())), status.message()};
}

// The texts of one model folder, by their files' names.
class Files {
 public:
  // False for a name that no part of the engine reads.
  bool SetText(const std::string& name, std::string text) {
    return files_.SetText(name, std::move(text));
  }

  ModelFiles Take() { return std::move(files_); }

 private:
  ModelFiles files_;
};

class BoundTokenizer {
 public:
  explicit BoundTokenizer(std::shared_ptr<const Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  const Tokenizer* operator->() const { return tokenizer_.get(); }

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
};

}  // namespace sotto::wasm

#endif  // SOTTO_WASM_TOKENIZER_BINDINGS_H_
