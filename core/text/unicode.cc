#include "core/text/unicode.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/sort.h"

namespace sotto::unicode {
namespace {

#include "core/text/unicode_data.inc"

// The tables are streams of varints (7 bits a byte, low first), see tools/make_unicode.py.
class Reader {
 public:
  explicit Reader(const uint8_t* data) : p_(data) {}
  uint32_t Varint() {
    uint32_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = *p_++;
      value |= static_cast<uint32_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
  }
  int32_t Zigzag() {
    const uint32_t v = Varint();
    return static_cast<int32_t>(v >> 1) ^ -static_cast<int32_t>(v & 1);
  }
  uint8_t Byte() { return *p_++; }
  const uint8_t* Skip(uint32_t n) {
    const uint8_t* at = p_;
    p_ += n;
    return at;
  }

 private:
  const uint8_t* p_;
};

// Walks a stream of ranges and sets `bit` on the code points of successive pages.
class RangeCursor {
 public:
  RangeCursor(const uint8_t* data, uint8_t bit) : reader_(data), bit_(bit) {
    left_ = reader_.Varint();
    Next();
  }
  bool Reaches(uint32_t page_begin) const { return first_ < page_begin + 256; }
  void Fill(uint32_t page_begin, uint8_t* page) {
    while (first_ < page_begin + 256) {
      const uint32_t begin = std::max(first_, page_begin);
      const uint32_t end = std::min(last_, page_begin + 255);
      for (uint32_t c = begin; c <= end; ++c) page[c - page_begin] |= bit_;
      if (last_ > page_begin + 255) return;
      Next();
    }
  }

 private:
  void Next() {
    if (left_ == 0) {
      first_ = last_ = ~0u;
      return;
    }
    --left_;
    first_ = end_ + reader_.Varint();
    last_ = first_ + reader_.Varint();
    end_ = last_ + 1;
  }
  Reader reader_;
  uint8_t bit_;
  uint32_t left_ = 0, first_ = 0, last_ = 0, end_ = 0;
};

Properties BuildProperties() {
  static constexpr char32_t kSpaces[] = {0x09,   0x0A,   0x0B,   0x0C,   0x0D,   0x20,   0x85,
                                         0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                         0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028,
                                         0x2029, 0x202F, 0x205F, 0x3000};
  RangeCursor cursors[] = {
      {kLetterData, kLetter},   {kNumberData, kNumber},         {kPunctuationData, kPunctuation},
      {kControlData, kControl}, {kNonspacingData, kNonspacing}, {kMarkData, kMark},
      {kWordData, kWord}};
  Properties table;
  std::vector<uint64_t> hashes;
  uint8_t page[256];
  bool reached = true;
  for (uint32_t index = 0; index < 0x1100; ++index) {
    // Empty pages are many, and come in a row. (Those with spaces have more than spaces.)
    const bool before = std::exchange(
        reached,
        std::ranges::any_of(cursors, [&](const RangeCursor& c) { return c.Reaches(index << 8); }));
    if (!reached && !before) {
      table.page[index] = table.page[index - 1];
      continue;
    }
    std::memset(page, 0, sizeof(page));
    for (RangeCursor& cursor : cursors) cursor.Fill(index << 8, page);
    for (const char32_t space : kSpaces) {
      if (space >> 8 == index) page[space & 0xFF] |= kSpace;
    }
    // Most pages are like the one before.
    if (index > 0 && std::memcmp(&table.bits[table.page[index - 1] << 8], page, 256) == 0) {
      table.page[index] = table.page[index - 1];
      continue;
    }
    uint64_t hash = 0xCBF29CE484222325ull;
    for (const uint8_t bits : page) hash = (hash ^ bits) * 0x100000001B3ull;
    size_t found = 0;
    while (found < hashes.size() &&
           (hashes[found] != hash || std::memcmp(&table.bits[found << 8], page, 256) != 0)) {
      ++found;
    }
    if (found == hashes.size()) {
      hashes.push_back(hash);
      table.bits.insert(table.bits.end(), page, page + 256);
    }
    table.page[index] = static_cast<uint16_t>(found);
  }
  table.bits.shrink_to_fit();
  return table;
}

struct LowerRun {
  uint32_t first, last, step;
  int32_t delta;
};

std::vector<LowerRun> BuildLowercase() {
  Reader reader(kLowercaseData);
  std::vector<LowerRun> runs(reader.Varint());
  uint32_t first = 0;
  for (LowerRun& run : runs) {
    first += reader.Varint();
    const uint32_t steps = reader.Varint();
    run.first = first;
    run.step = reader.Varint();
    run.last = first + steps * run.step;
    run.delta = reader.Zigzag();
  }
  return runs;
}

struct Decomposition {
  uint32_t code : 24;
  uint32_t compatibility : 1;
  uint32_t length : 7;
  uint32_t offset;  // of UTF-8 bytes in kDecompositionData
};

struct Composition {
  uint32_t first, second, composite;
  bool operator<(const Composition& o) const {
    return first != o.first ? first < o.first : second < o.second;
  }
};

struct ClassRun {
  uint32_t first, last;
  uint8_t combining_class;
};

struct NormalizationTables {
  std::vector<Decomposition> decompositions;  // by code
  std::vector<Composition> compositions;      // by first, second
  std::vector<ClassRun> classes;              // by first
  // One bit for each 16 code points below U+30000 in which anything decomposes, has a class or
  // joins the character before it.
  std::vector<uint64_t> active;
  // One bit for each code point below U+30000 that NFC may change or join to the one before it.
  std::vector<uint64_t> not_nfc;

  bool Active(char32_t c) const {
    return c < 0x30000 && (active[c >> 10] >> ((c >> 4) & 63) & 1) != 0;
  }
};

// Hangul syllables decompose by arithmetic (Unicode 15, section 3.12).
constexpr uint32_t kHangulS = 0xAC00, kHangulL = 0x1100, kHangulV = 0x1161, kHangulT = 0x11A7;
constexpr uint32_t kHangulVCount = 21, kHangulTCount = 28, kHangulSCount = 11172;

NormalizationTables BuildNormalization() {
  NormalizationTables tables;
  tables.active.resize(0x30000 >> 10);
  const auto mark = [&](uint32_t c) { tables.active[c >> 10] |= uint64_t{1} << ((c >> 4) & 63); };
  {
    Reader reader(kDecompositionData);
    tables.decompositions.resize(reader.Varint());
    uint32_t code = 0;
    for (Decomposition& d : tables.decompositions) {
      code += reader.Varint();
      const uint32_t head = reader.Varint();
      d.code = code;
      d.compatibility = head & 1;
      d.length = (head >> 1) & 0x7F;
      d.offset = static_cast<uint32_t>(reader.Skip(head >> 1) - kDecompositionData);
      mark(code);
    }
  }
  {
    Reader reader(kCompositionData);
    tables.compositions.resize(reader.Varint());
    uint32_t code = 0;
    for (Composition& c : tables.compositions) {
      code += reader.Varint();
      c.composite = code;
      c.first = static_cast<uint32_t>(static_cast<int32_t>(code) + reader.Zigzag());
      c.second = reader.Varint();
    }
    HeapSort(tables.compositions.begin(), tables.compositions.end());
    tables.not_nfc.resize(0x30000 >> 6);
    const auto mark_nfc = [&](uint32_t c) { tables.not_nfc[c >> 6] |= uint64_t{1} << (c & 63); };
    for (const Decomposition& d : tables.decompositions) {
      if (!d.compatibility) mark_nfc(d.code);
    }
    for (const Composition& c : tables.compositions) {
      tables.not_nfc[c.composite >> 6] &= ~(uint64_t{1} << (c.composite & 63));
    }
    for (const Composition& c : tables.compositions) {
      mark(c.second);
      mark_nfc(c.second);
    }
    for (uint32_t c = kHangulV; c < kHangulT + kHangulTCount; ++c) mark_nfc(c);
  }
  {
    Reader reader(kCombiningClassData);
    tables.classes.resize(reader.Varint());
    uint32_t end = 0;
    for (ClassRun& run : tables.classes) {
      run.first = end + reader.Varint();
      run.last = run.first + reader.Varint();
      run.combining_class = reader.Byte();
      end = run.last + 1;
      for (uint32_t c = run.first; c <= run.last; ++c) {
        mark(c);
        tables.not_nfc[c >> 6] |= uint64_t{1} << (c & 63);
      }
    }
  }
  return tables;
}

const NormalizationTables& Tables() {
  static const NormalizationTables tables = BuildNormalization();
  return tables;
}

struct Pending {
  char32_t code;
  int32_t change;
  uint8_t combining_class;
  uint32_t order = 0;
};

void PushDecomposed(const NormalizationTables& tables, char32_t c, bool compatibility,
                    int32_t change, std::vector<Pending>& out);

void PushUtf8Decomposed(const NormalizationTables& tables, const Decomposition& d,
                        bool compatibility, int32_t change, std::vector<Pending>& out) {
  const uint8_t* p = kDecompositionData + d.offset;
  const uint8_t* end = p + d.length;
  while (p < end) {
    char32_t code = *p++;
    const int more = code < 0x80 ? 0 : code < 0xE0 ? 1 : code < 0xF0 ? 2 : 3;
    if (more > 0) code &= 0x3F >> more;
    for (int i = 0; i < more; ++i) code = (code << 6) | (*p++ & 0x3F);
    // Stored decompositions are complete, but a canonical one may go on by compatibility.
    if (compatibility && !d.compatibility) {
      PushDecomposed(tables, code, true, change, out);
    } else {
      out.push_back({code, change, CombiningClass(code)});
    }
    change = 1;
  }
}

void PushDecomposed(const NormalizationTables& tables, char32_t c, bool compatibility,
                    int32_t change, std::vector<Pending>& out) {
  if (c >= kHangulS && c < kHangulS + kHangulSCount) {
    const uint32_t s = c - kHangulS;
    out.push_back({kHangulL + s / (kHangulVCount * kHangulTCount), change, 0});
    out.push_back({kHangulV + s % (kHangulVCount * kHangulTCount) / kHangulTCount, 1, 0});
    if (s % kHangulTCount != 0) out.push_back({kHangulT + s % kHangulTCount, 1, 0});
    return;
  }
  if (!tables.Active(c)) {
    out.push_back({c, change, 0});
    return;
  }
  const auto it = std::lower_bound(tables.decompositions.begin(), tables.decompositions.end(), c,
                                   [](const Decomposition& d, char32_t x) { return d.code < x; });
  if (it != tables.decompositions.end() && it->code == c && (compatibility || !it->compatibility)) {
    PushUtf8Decomposed(tables, *it, compatibility, change, out);
  } else {
    out.push_back({c, change, CombiningClass(c)});
  }
}

// The canonical ordering: a stable sort of every run of non-starters.
void Reorder(std::vector<Pending>& text) {
  for (size_t i = 0; i < text.size();) {
    if (text[i].combining_class == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && text[end].combining_class != 0) ++end;
    for (size_t k = i; k < end; ++k) text[k].order = static_cast<uint32_t>(k);
    HeapSort(text.begin() + i, text.begin() + end, [](const Pending& a, const Pending& b) {
      return a.combining_class != b.combining_class ? a.combining_class < b.combining_class
                                                    : a.order < b.order;
    });
    i = end;
  }
}

// The primary composite of a pair; 0 for none.
char32_t Compose(const NormalizationTables& tables, char32_t a, char32_t b) {
  if (a >= kHangulL && a < kHangulL + 19 && b >= kHangulV && b < kHangulV + kHangulVCount) {
    return kHangulS + ((a - kHangulL) * kHangulVCount + (b - kHangulV)) * kHangulTCount;
  }
  if (a >= kHangulS && a < kHangulS + kHangulSCount && (a - kHangulS) % kHangulTCount == 0 &&
      b > kHangulT && b < kHangulT + kHangulTCount) {
    return a + (b - kHangulT);
  }
  const Composition key{a, b, 0};
  const auto it = std::lower_bound(tables.compositions.begin(), tables.compositions.end(), key);
  return it != tables.compositions.end() && it->first == a && it->second == b ? it->composite : 0;
}

// Canonical composition in place. Where b joins a, the composite stands for the source characters
// of both: changes add up, and each one that b stood for is swallowed.
void ComposeAll(const NormalizationTables& tables, std::vector<Pending>& text) {
  constexpr size_t kNone = ~size_t{0};
  size_t out = 0, starter = kNone;
  int last_class = 0;  // of what stands between the starter and here; 0: nothing does
  for (size_t i = 0; i < text.size(); ++i) {
    const Pending c = text[i];
    if (starter != kNone) {
      const bool adjacent = out == starter + 1;
      if (adjacent || last_class < c.combining_class) {
        if (const char32_t composite = Compose(tables, text[starter].code, c.code)) {
          text[starter].code = composite;
          text[starter].change += c.change - 1;
          continue;
        }
      }
    }
    if (c.combining_class == 0) starter = out;
    last_class = c.combining_class;
    text[out++] = c;
  }
  text.resize(out);
}

}  // namespace

const Properties& PropertyTable() {
  static const Properties table = BuildProperties();
  return table;
}

namespace {

// The index of a code point's category: pages of 256, equal pages stored once.
struct CategoryTable {
  uint16_t page[0x1100];
  std::vector<uint8_t> index;
  CategoryTable() {
    Reader reader(kCategoryData);
    uint32_t left = reader.Varint(), run = 0;
    uint8_t category = 29;
    std::vector<uint8_t> codes(256);
    for (uint32_t p = 0; p < 0x1100; ++p) {
      for (uint8_t& c : codes) {
        if (run == 0 && left > 0) {
          run = reader.Varint() + 1;
          category = reader.Byte();
          --left;
        }
        run -= run > 0 ? 1 : 0;
        c = category;
      }
      size_t same = 0;
      while (same < index.size() && std::memcmp(&index[same], codes.data(), 256) != 0) same += 256;
      if (same == index.size()) index.insert(index.end(), codes.begin(), codes.end());
      page[p] = static_cast<uint16_t>(same / 256);
    }
  }
};

}  // namespace

uint32_t CategoryOf(char32_t c) {
  static const CategoryTable table;
  return c < 0x110000 ? 1u << table.index[static_cast<size_t>(table.page[c >> 8]) << 8 | (c & 0xFF)]
                      : kCn;
}

uint32_t CategoriesNamed(std::string_view name) {
  static constexpr std::string_view kNames =
      "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCoCsCn";
  uint32_t found = 0;
  for (size_t i = 0; i < kNames.size() / 2 && !name.empty(); ++i) {
    if (kNames.substr(2 * i, 2).starts_with(name)) found |= 1u << i;
  }
  return found;
}

bool IsBertIdeograph(char32_t c) {
  if (c < 0x3400) return false;
  return c <= 0x4DBF || (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

char32_t ToLower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c == 0x130) return 'i';
  static const std::vector<LowerRun> runs = BuildLowercase();
  // Runs of different stride interleave, but no two of them hold the same code point; they are
  // sorted by their first, so the search ends a few runs below.
  auto it = std::upper_bound(runs.begin(), runs.end(), c,
                             [](char32_t x, const LowerRun& run) { return x < run.first; });
  for (int tries = 0; tries < 4 && it != runs.begin(); ++tries) {
    --it;
    if (c <= it->last && (c - it->first) % it->step == 0) {
      return static_cast<char32_t>(static_cast<int32_t>(c) + it->delta);
    }
  }
  return c;
}

uint8_t CombiningClass(char32_t c) {
  const NormalizationTables& tables = Tables();
  if (!tables.Active(c)) return 0;
  auto it = std::upper_bound(tables.classes.begin(), tables.classes.end(), c,
                             [](char32_t x, const ClassRun& run) { return x < run.first; });
  if (it == tables.classes.begin()) return 0;
  --it;
  return c <= it->last ? it->combining_class : 0;
}

bool KeepsInNfc(char32_t c) {
  return c < 0x300 || c >= 0x30000 || (Tables().not_nfc[c >> 6] >> (c & 63) & 1) == 0;
}

void Normalize(Form form, const std::vector<char32_t>& text, std::vector<NormalizedChar>& out) {
  const NormalizationTables& tables = Tables();
  const bool compatibility = form == Form::kNfkd || form == Form::kNfkc;
  std::vector<Pending> pending;
  pending.reserve(text.size() + text.size() / 4);
  for (const char32_t c : text) PushDecomposed(tables, c, compatibility, 0, pending);
  Reorder(pending);
  if (form == Form::kNfc || form == Form::kNfkc) ComposeAll(tables, pending);
  out.clear();
  out.reserve(pending.size());
  for (const Pending& p : pending) out.push_back({p.code, p.change});
}

}  // namespace sotto::unicode
