#include "core/text/vocabulary.h"

#include <algorithm>
#include <utility>

#include "core/base/sort.h"

namespace sotto {

namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 22;
constexpr size_t kMaxBytes = size_t{1} << 30;

Status CheckSize(size_t tokens, size_t bytes) {
  if (static_cast<int64_t>(tokens) > kMaxTokens) {
    return Unsupported(StrCat("a vocabulary of ", tokens, " tokens (at most ", kMaxTokens, ")"));
  }
  return bytes > kMaxBytes ? Unsupported("a vocabulary of more than 1 GB") : OkStatus();
}

}  // namespace

Result<Vocabulary> Vocabulary::FromJson(const Json& object) {
  if (!object.is_object()) return InvalidFile("'vocab' must be an object of tokens and their ids");
  const std::vector<Json::Member>& members = object.members();
  SOTTO_RETURN_IF_ERROR(CheckSize(members.size(), 0));
  // Ids may have gaps, but a stray huge one must not cost memory.
  const int64_t max_id = std::max<int64_t>(int64_t{1} << 20, int64_t{4} * members.size());
  std::vector<std::pair<int32_t, uint32_t>> order;  // id, member
  order.reserve(members.size());
  size_t bytes = 0;
  for (uint32_t i = 0; i < members.size(); ++i) {
    const Json& id = members[i].second;
    if (!id.is_int() || id.as_int() < 0 || id.as_int() > max_id) {
      return InvalidFile(StrCat("the id of token '", members[i].first,
                                "' must be an integer between 0 and ", max_id));
    }
    order.push_back({static_cast<int32_t>(id.as_int()), i});
    bytes += members[i].first.size();
  }
  SOTTO_RETURN_IF_ERROR(CheckSize(members.size(), bytes));
  if (!std::is_sorted(order.begin(), order.end())) HeapSort(order.begin(), order.end());
  Vocabulary v;
  v.tokens_.Reserve(static_cast<uint32_t>(members.size()), bytes);
  v.limit_ = order.empty() ? 0 : order.back().first + 1;
  for (const auto& [id, member] : order) {
    const std::string& token = members[member].first;
    v.dense_ = v.dense_ && id == static_cast<int32_t>(v.tokens_.size());
    v.tokens_.Intern(token);
    v.longest_ = std::max(v.longest_, token.size());
  }
  if (!v.dense_) {
    v.index_of_id_.assign(static_cast<size_t>(v.limit_), -1);
    for (size_t i = 0; i < order.size(); ++i) {
      v.ids_.push_back(order[i].first);
      v.index_of_id_[static_cast<size_t>(order[i].first)] = static_cast<int32_t>(i);
    }
  }
  return v;
}

Result<Vocabulary> Vocabulary::FromList(const std::vector<std::string_view>& tokens) {
  size_t bytes = 0;
  for (const std::string_view token : tokens) bytes += token.size();
  SOTTO_RETURN_IF_ERROR(CheckSize(tokens.size(), bytes));
  Vocabulary v;
  v.tokens_.Reserve(static_cast<uint32_t>(tokens.size()), bytes);
  v.limit_ = static_cast<int32_t>(tokens.size());
  std::vector<int32_t> index_of_id;
  index_of_id.reserve(tokens.size());
  for (const std::string_view token : tokens) {
    index_of_id.push_back(static_cast<int32_t>(v.tokens_.Intern(token)));
    v.longest_ = std::max(v.longest_, token.size());
  }
  v.dense_ = v.tokens_.size() == tokens.size();
  if (!v.dense_) {
    v.ids_.resize(v.tokens_.size());
    for (int32_t id = 0; id < v.limit_; ++id) {
      v.ids_[static_cast<size_t>(index_of_id[static_cast<size_t>(id)])] = id;
    }
    v.index_of_id_ = std::move(index_of_id);
  }
  return v;
}

}  // namespace sotto
