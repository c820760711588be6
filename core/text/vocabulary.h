// The tokens of a model, by spelling and by id.
#ifndef SOTTO_CORE_TEXT_VOCABULARY_H_
#define SOTTO_CORE_TEXT_VOCABULARY_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/base/json.h"
#include "core/base/status.h"
#include "core/text/string_table.h"

namespace sotto {

class Vocabulary {
 public:
  // From an object {"token": id, ...}.
  static Result<Vocabulary> FromJson(const Json& object);
  // From tokens in the order of their ids. Of equal ones the last has the spelling's id.
  static Result<Vocabulary> FromList(const std::vector<std::string_view>& tokens);

  // The id, or -1.
  int32_t IdOf(std::string_view token) const { return IdAt(tokens_.Find(token)); }
  int32_t IdOf(std::string_view token, uint64_t hash) const {
    return IdAt(tokens_.Find(token, hash));
  }
  // The spelling; empty for an unknown id.
  std::string_view TokenOf(int32_t id) const {
    if (id < 0 || id >= limit()) return {};
    const int32_t index = dense_ ? id : index_of_id_[static_cast<size_t>(id)];
    return index < 0 ? std::string_view() : tokens_[static_cast<uint32_t>(index)];
  }
  bool Has(int32_t id) const {
    return id >= 0 && id < limit() && (dense_ || index_of_id_[static_cast<size_t>(id)] >= 0);
  }
  int32_t limit() const { return limit_; }  // one more than the largest id
  uint32_t size() const { return tokens_.size(); }
  size_t longest() const { return longest_; }  // bytes

 private:
  int32_t IdAt(int32_t index) const {
    return index < 0 || dense_ ? index : ids_[static_cast<size_t>(index)];
  }

  StringTable tokens_;  // by ascending id
  bool dense_ = true;   // every number below limit_ is an id, so that numbers are ids
  std::vector<int32_t> ids_, index_of_id_;
  int32_t limit_ = 0;
  size_t longest_ = 0;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_VOCABULARY_H_
