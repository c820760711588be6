// A small memory of short pieces and their tokens: most words of a text have been seen before. One
// slot for each hash; a newcomer takes it over. Not for several threads at once.
#ifndef SOTTO_CORE_TEXT_WORD_CACHE_H_
#define SOTTO_CORE_TEXT_WORD_CACHE_H_

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "core/text/token_model.h"

namespace sotto {

class WordCache {
 public:
  static constexpr size_t kMaxBytes = 23;
  static constexpr size_t kMaxTokens = 6;

  struct Key {
    uint64_t words[3];  // the bytes, zero-padded; the last one is the length
    uint32_t slot;
  };
  // The piece must have at most kMaxBytes.
  static Key KeyOf(std::string_view piece) {
    Key key = {};
    std::memcpy(key.words, piece.data(), piece.size());
    key.words[2] |= static_cast<uint64_t>(piece.size()) << 56;
    uint64_t h = key.words[0] * 0x9E3779B97F4A7C15ull;
    h = (h ^ (h >> 32) ^ key.words[1]) * 0xBF58476D1CE4E5B9ull;
    h = (h ^ (h >> 29) ^ key.words[2]) * 0x94D049BB133111EBull;
    key.slot = static_cast<uint32_t>(h >> (64 - kBits));
    return key;
  }

  // Appends the tokens of a known piece.
  bool Get(const Key& key, std::vector<ModelToken>& tokens) const {
    if (slots_.empty()) return false;
    const Slot& slot = slots_[key.slot];
    if (std::memcmp(slot.words, key.words, sizeof(slot.words)) != 0) return false;
    uint32_t begin = 0;
    for (int i = 0; i < slot.count; ++i) {
      tokens.push_back({slot.ids[i], begin, slot.ends[i]});
      begin = slot.ends[i];
    }
    return true;
  }
  // Tokens that leave no gaps and are few enough are kept.
  void Put(const Key& key, const ModelToken* tokens, size_t count) {
    if (count > kMaxTokens) return;
    uint32_t end = 0;
    for (size_t i = 0; i < count; ++i) {
      if (tokens[i].begin != end) return;
      end = tokens[i].end;
    }
    if (slots_.empty()) slots_.resize(size_t{1} << kBits);
    Slot& slot = slots_[key.slot];
    std::memcpy(slot.words, key.words, sizeof(slot.words));
    slot.count = static_cast<uint8_t>(count);
    for (size_t i = 0; i < count; ++i) {
      slot.ids[i] = tokens[i].id;
      slot.ends[i] = static_cast<uint8_t>(tokens[i].end);
    }
  }

 private:
  static constexpr int kBits = 13;
  struct Slot {
    uint64_t words[3] = {};  // no piece is empty, so this one matches nothing
    int32_t ids[kMaxTokens];
    uint8_t ends[kMaxTokens];
    uint8_t count = 0;
  };
  std::vector<Slot> slots_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_WORD_CACHE_H_
