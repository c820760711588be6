// Strings numbered in the order of their arrival: one pool of bytes and an open-addressing hash of
// 32-bit numbers, about 12 bytes a string beside its own. Nothing is ever removed.
#ifndef SOTTO_CORE_TEXT_STRING_TABLE_H_
#define SOTTO_CORE_TEXT_STRING_TABLE_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sotto {

// FNV-1a, which may be continued byte by byte.
inline constexpr uint64_t kHashStart = 0xCBF29CE484222325ull;
inline uint64_t HashStep(uint64_t hash, char c) {
  return (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ull;
}
inline uint64_t HashOf(std::string_view s, uint64_t hash = kHashStart) {
  for (const char c : s) hash = HashStep(hash, c);
  return hash;
}

class StringTable {
 public:
  StringTable() : ends_(1, 0) { Rehash(16); }

  uint32_t size() const { return static_cast<uint32_t>(ends_.size() - 1); }
  std::string_view operator[](uint32_t index) const {
    return std::string_view(pool_).substr(ends_[index], ends_[index + 1] - ends_[index]);
  }
  size_t bytes() const { return pool_.size(); }

  void Reserve(uint32_t strings, size_t bytes) {
    ends_.reserve(strings + 1);
    pool_.reserve(bytes);
    size_t slots = slots_.size();
    while (slots < size_t{strings} * 2) slots *= 2;
    if (slots > slots_.size()) Rehash(slots);
  }

  // The string's number, or -1.
  int32_t Find(std::string_view s) const { return Find(s, HashOf(s)); }
  int32_t Find(std::string_view s, uint64_t hash) const {
    for (size_t slot = SlotOf(hash);; slot = (slot + 1) & (slots_.size() - 1)) {
      const uint32_t entry = slots_[slot];
      if (entry == 0) return -1;
      if ((*this)[entry - 1] == s) return static_cast<int32_t>(entry - 1);
    }
  }
  // The string's number; a new string gets the next one.
  uint32_t Intern(std::string_view s) {
    const uint64_t hash = HashOf(s);
    size_t slot = SlotOf(hash);
    for (; slots_[slot] != 0; slot = (slot + 1) & (slots_.size() - 1)) {
      if ((*this)[slots_[slot] - 1] == s) return slots_[slot] - 1;
    }
    pool_.append(s);
    ends_.push_back(static_cast<uint32_t>(pool_.size()));
    slots_[slot] = size();
    if (size_t{size()} * 2 > slots_.size()) Rehash(slots_.size() * 2);
    return size() - 1;
  }

 private:
  size_t SlotOf(uint64_t hash) const {
    return static_cast<size_t>((hash * 0x9E3779B97F4A7C15ull) >> shift_);
  }
  void Rehash(size_t slots) {
    slots_.assign(slots, 0);
    shift_ = 64;
    while (slots > 1) {
      slots /= 2;
      --shift_;
    }
    for (uint32_t i = 0; i < size(); ++i) {
      size_t slot = SlotOf(HashOf((*this)[i]));
      while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
      slots_[slot] = i + 1;
    }
  }

  std::string pool_;
  std::vector<uint32_t> ends_;   // string i is pool_[ends_[i], ends_[i + 1])
  std::vector<uint32_t> slots_;  // number + 1; 0 is empty
  int shift_ = 60;
};

}  // namespace sotto

#endif  // SOTTO_CORE_TEXT_STRING_TABLE_H_
