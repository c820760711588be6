#include "core/train/batches.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/base/random.h"
#include "core/ops/ops.h"

namespace sotto {
namespace {

// Random streams, so that draws for different ends never share numbers.
enum Stream : uint64_t { kOrder = 1, kUpsample, kBlocks, kOffset, kMask, kPairs };

uint64_t Key(uint64_t seed, uint64_t a, uint64_t b) { return Mix64(Mix64(Mix64(seed) ^ a) ^ b); }

// The order in which documents enter an epoch, repeated or thinned out by source.
std::vector<int64_t> Upsampled(const TokenizedDocuments& documents, const BatchOptions& options,
                               bool shuffle) {
  std::vector<int64_t> order;
  const Random random(options.seed, kUpsample);
  for (int64_t i = 0; i < documents.size(); ++i) {
    const size_t source = static_cast<size_t>(documents.sources[i]);
    const double times = source < options.upsample.size() ? options.upsample[source] : 1;
    const double whole = std::floor(times);
    const double chance = static_cast<double>(random.At(static_cast<uint64_t>(i)) >> 11) * 0x1p-53;
    const int64_t copies = static_cast<int64_t>(whole) + (chance < times - whole ? 1 : 0);
    order.insert(order.end(), static_cast<size_t>(copies), i);
  }
  if (!shuffle) return order;
  const std::vector<int64_t> permutation =
      Shuffled(static_cast<int64_t>(order.size()), options.seed, -1);
  std::vector<int64_t> shuffled;
  shuffled.reserve(order.size());
  for (const int64_t i : permutation) shuffled.push_back(order[i]);
  return shuffled;
}

// Blocks of a stream of tokens.
class PackedSource : public BatchSource {
 public:
  PackedSource(const TokenizedDocuments& documents, const SpecialIds& special,
               const BatchOptions& options, const MaskOptions* mask)
      : special_(special), options_(options), masked_(mask != nullptr) {
    if (mask != nullptr) mask_ = *mask;
    const int32_t separator = masked_ ? special.sep : special.separator;
    for (const int64_t i : Upsampled(documents, options, true)) {
      const auto ids = documents.document(i);
      stream_.insert(stream_.end(), ids.begin(), ids.end());
      stream_.push_back(separator);
    }
    payload_ = options.max_tokens - (masked_ ? 2 : 0);
    blocks_ = std::max<int64_t>(0, (static_cast<int64_t>(stream_.size()) - 1) / payload_);
  }

  int64_t blocks() const { return blocks_; }
  int64_t batches() const override {
    return (blocks_ + options_.batch_size - 1) / options_.batch_size;
  }

  Result<Batch> Get(int64_t epoch, int64_t index) override {
    if (epoch >= 0 && epoch != order_epoch_) {
      order_ = Shuffled(blocks_, Key(options_.seed, kBlocks, 0), epoch);
      order_epoch_ = epoch;
    }
    const int64_t begin = index * options_.batch_size;
    const int64_t rows = std::min(options_.batch_size, blocks_ - begin);
    std::vector<int32_t> ids, targets, masked_rows;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t block = epoch < 0 ? begin + row : order_[begin + row];
      if (masked_) {
        AddMasked(epoch, block, row, ids, masked_rows, targets);
      } else {
        AddCausal(epoch, block, ids, targets);
      }
    }
    Batch batch;
    batch.tokens = static_cast<int64_t>(ids.size());
    batch.target_count = static_cast<int64_t>(targets.size());
    SOTTO_ASSIGN_OR_RETURN(batch.input.ids, Tensor::FromInts({rows, options_.max_tokens}, ids));
    if (masked_) {
      SOTTO_ASSIGN_OR_RETURN(batch.input.rows, Tensor::FromInts({batch.target_count}, masked_rows));
      SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({batch.target_count}, targets));
    } else {
      SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({rows, options_.max_tokens}, targets));
    }
    return batch;
  }

 private:
  // Each epoch cuts the stream at other places, unless examples are to stay what they are.
  int64_t Place(int64_t epoch, int64_t block, int64_t step) const {
    const bool fixed = epoch < 0 || (masked_ && mask_.is_static);
    if (fixed) return block * payload_ + step;
    const uint64_t draw = Random(options_.seed, kOffset).At(static_cast<uint64_t>(epoch));
    const int64_t offset = static_cast<int64_t>(draw % static_cast<uint64_t>(payload_));
    return (block * payload_ + step + offset) % static_cast<int64_t>(stream_.size());
  }

  void AddCausal(int64_t epoch, int64_t block, std::vector<int32_t>& ids,
                 std::vector<int32_t>& targets) const {
    for (int64_t t = 0; t < payload_; ++t) {
      ids.push_back(stream_[Place(epoch, block, t)]);
      targets.push_back(stream_[Place(epoch, block, t + 1)]);
    }
  }

  void AddMasked(int64_t epoch, int64_t block, int64_t row, std::vector<int32_t>& ids,
                 std::vector<int32_t>& rows, std::vector<int32_t>& targets) const {
    const size_t first = ids.size();
    ids.push_back(special_.cls);
    for (int64_t t = 0; t < payload_; ++t) ids.push_back(stream_[Place(epoch, block, t)]);
    ids.push_back(special_.sep);
    const uint64_t age = epoch < 0 || mask_.is_static ? 0 : static_cast<uint64_t>(epoch) + 1;
    MaskTokens(std::span<int32_t>(ids).subspan(first), special_, mask_,
               Key(options_.seed ^ kMask, static_cast<uint64_t>(block), age),
               static_cast<int32_t>(row * options_.max_tokens), rows, targets);
  }

  SpecialIds special_;
  BatchOptions options_;
  bool masked_;
  MaskOptions mask_;
  std::vector<int32_t> stream_;
  int64_t payload_ = 0, blocks_ = 0;
  std::vector<int64_t> order_;
  int64_t order_epoch_ = -1;
};

// `longest` rounded up, so that batches of like lengths share shapes, but not past `most`.
int64_t PaddedWidth(int64_t longest, int64_t most) {
  constexpr int64_t kMultiple = 8;
  return std::min((longest + kMultiple - 1) / kMultiple * kMultiple, std::max(most, longest));
}

// Examples of their own length, those of like length together.
class BucketedSource : public BatchSource {
 public:
  explicit BucketedSource(const BatchOptions& options) : options_(options) {}

  int64_t batches() const override {
    return (examples() + options_.batch_size - 1) / options_.batch_size;
  }

  Result<Batch> Get(int64_t epoch, int64_t index) override {
    if (epoch >= 0 && epoch != order_epoch_) Bucket(epoch);
    const int64_t begin = (epoch < 0 ? index : batch_order_[index]) * options_.batch_size;
    const int64_t rows = std::min(options_.batch_size, examples() - begin);
    std::vector<int64_t> members;
    for (int64_t row = 0; row < rows; ++row)
      members.push_back(epoch < 0 ? begin + row : order_[begin + row]);
    return Assemble(members, epoch);
  }

 protected:
  virtual int64_t examples() const = 0;
  virtual size_t Length(int64_t example) const = 0;
  virtual Result<Batch> Assemble(const std::vector<int64_t>& members, int64_t epoch) const = 0;

  BatchOptions options_;

 private:
  static constexpr int64_t kBucketBatches = 50;  // sorted by length together

  // Like lengths are ordered anew in each epoch.
  std::pair<size_t, uint64_t> SortKey(int64_t i, int64_t epoch) const {
    return {Length(i), Key(options_.seed, static_cast<uint64_t>(i), static_cast<uint64_t>(epoch))};
  }

  // Shuffles, then sorts by length within large buckets, then shuffles the batches: neighbours are
  // of like length, yet each epoch's batches are other ones.
  void Bucket(int64_t epoch) {
    const int64_t count = examples();
    order_ = Shuffled(count, Key(options_.seed, kOrder, 0), epoch);
    const int64_t bucket = kBucketBatches * options_.batch_size;
    for (int64_t begin = 0; begin < count; begin += bucket) {
      std::sort(order_.begin() + begin, order_.begin() + std::min(begin + bucket, count),
                [&](int64_t a, int64_t b) { return SortKey(a, epoch) < SortKey(b, epoch); });
    }
    batch_order_ = Shuffled(batches(), Key(options_.seed, kBlocks, 0), epoch);
    order_epoch_ = epoch;
  }

  std::vector<int64_t> order_, batch_order_;
  int64_t order_epoch_ = -1;
};

// A text or two, complete with special tokens.
struct PaddedExample {
  std::vector<int32_t> ids;
  int64_t second = 0;  // where the second text begins; the length where there is none
  int32_t label = -1;
};

class PaddedSource : public BucketedSource {
 public:
  PaddedSource(std::vector<PaddedExample> examples, const SpecialIds& special,
               const BatchOptions& options, bool pairs, const MaskOptions* mask)
      : BucketedSource(options),
        examples_(std::move(examples)),
        special_(special),
        pairs_(pairs),
        masked_(mask != nullptr) {
    if (mask != nullptr) mask_ = *mask;
  }

 private:
  int64_t examples() const override { return static_cast<int64_t>(examples_.size()); }
  size_t Length(int64_t i) const override { return examples_[i].ids.size(); }

  Result<Batch> Assemble(const std::vector<int64_t>& members, int64_t epoch) const override {
    size_t longest = 0;
    for (const int64_t i : members) longest = std::max(longest, examples_[i].ids.size());
    const int64_t rows = static_cast<int64_t>(members.size());
    const int64_t width = PaddedWidth(static_cast<int64_t>(longest), options_.max_tokens);
    std::vector<int32_t> ids(static_cast<size_t>(rows * width), special_.pad);
    std::vector<int32_t> types(pairs_ ? ids.size() : 0, 0), labels, masked_rows, hidden;
    Batch batch;
    SOTTO_ASSIGN_OR_RETURN(batch.input.attention_mask, Tensor::Zeros({rows, width}, DType::kU8));
    uint8_t* mask = static_cast<uint8_t*>(batch.input.attention_mask.data());
    for (int64_t row = 0; row < rows; ++row) {
      const PaddedExample& example = examples_[members[row]];
      const int64_t length = static_cast<int64_t>(example.ids.size()), first = row * width;
      std::copy(example.ids.begin(), example.ids.end(), ids.begin() + first);
      std::fill_n(mask + first, length, uint8_t{1});
      if (pairs_)
        std::fill(types.begin() + first + example.second, types.begin() + first + length, 1);
      labels.push_back(example.label);
      batch.tokens += length;
      if (masked_) {
        const uint64_t age = epoch < 0 || mask_.is_static ? 0 : static_cast<uint64_t>(epoch) + 1;
        MaskTokens(std::span<int32_t>(ids).subspan(static_cast<size_t>(first),
                                                   static_cast<size_t>(length)),
                   special_, mask_,
                   Key(options_.seed ^ kMask, static_cast<uint64_t>(members[row]), age),
                   static_cast<int32_t>(first), masked_rows, hidden);
      }
    }
    SOTTO_ASSIGN_OR_RETURN(batch.input.ids, Tensor::FromInts({rows, width}, ids));
    if (pairs_) {
      SOTTO_ASSIGN_OR_RETURN(batch.input.token_type_ids, Tensor::FromInts({rows, width}, types));
      SOTTO_ASSIGN_OR_RETURN(batch.next_sentence, Tensor::FromInts({rows}, labels));
    }
    if (masked_) {
      batch.target_count = static_cast<int64_t>(hidden.size());
      SOTTO_ASSIGN_OR_RETURN(batch.input.rows, Tensor::FromInts({batch.target_count}, masked_rows));
      SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({batch.target_count}, hidden));
    } else {
      batch.target_count = rows;
      SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({rows}, labels));
    }
    return batch;
  }

  std::vector<PaddedExample> examples_;
  SpecialIds special_;
  bool pairs_, masked_;
  MaskOptions mask_;
};

class PairSource : public BucketedSource {
 public:
  PairSource(const TokenizedDocuments& pairs, std::vector<int64_t> order, const SpecialIds& special,
             const BatchOptions& options)
      : BucketedSource(options), pairs_(pairs), which_(std::move(order)), special_(special) {}

 private:
  int64_t examples() const override { return static_cast<int64_t>(which_.size()); }
  size_t Length(int64_t i) const override {
    return pairs_.document(which_[i]).size() + pairs_.target(which_[i]).size();
  }

  Result<Batch> Assemble(const std::vector<int64_t>& members, int64_t) const override {
    size_t longest = 0, longest_target = 0;
    for (const int64_t i : members) {
      longest = std::max(longest, pairs_.document(which_[i]).size());
      longest_target = std::max(longest_target, pairs_.target(which_[i]).size());
    }
    const int64_t rows = static_cast<int64_t>(members.size()),
                  width = PaddedWidth(static_cast<int64_t>(longest), options_.max_tokens),
                  tokens =
                      PaddedWidth(static_cast<int64_t>(longest_target), options_.max_target_tokens);
    std::vector<int32_t> ids(static_cast<size_t>(rows * width), special_.pad);
    std::vector<int32_t> fed(static_cast<size_t>(rows * tokens), special_.pad);
    std::vector<int32_t> targets(fed.size(), kIgnoreTarget);
    Batch batch;
    SOTTO_ASSIGN_OR_RETURN(batch.input.attention_mask, Tensor::Zeros({rows, width}, DType::kU8));
    uint8_t* mask = static_cast<uint8_t*>(batch.input.attention_mask.data());
    for (int64_t row = 0; row < rows; ++row) {
      const auto source = pairs_.document(which_[members[row]]);
      const auto target = pairs_.target(which_[members[row]]);
      std::copy(source.begin(), source.end(), ids.begin() + row * width);
      std::fill_n(mask + row * width, source.size(), uint8_t{1});
      std::copy(target.begin(), target.end(), targets.begin() + row * tokens);
      fed[row * tokens] = special_.start;
      std::copy(target.begin(), target.end() - 1, fed.begin() + row * tokens + 1);
      batch.target_count += static_cast<int64_t>(target.size());
      batch.tokens += static_cast<int64_t>(source.size() + target.size());
    }
    SOTTO_ASSIGN_OR_RETURN(batch.input.ids, Tensor::FromInts({rows, width}, ids));
    SOTTO_ASSIGN_OR_RETURN(batch.input.decoder_ids, Tensor::FromInts({rows, tokens}, fed));
    SOTTO_ASSIGN_OR_RETURN(batch.targets, Tensor::FromInts({rows, tokens}, targets));
    return batch;
  }

  TokenizedDocuments pairs_;
  std::vector<int64_t> which_;
  SpecialIds special_;
};

// Cuts both texts, the longer one first, until they fit.
void TruncatePair(std::vector<int32_t>& first, std::vector<int32_t>& second, int64_t room) {
  while (static_cast<int64_t>(first.size() + second.size()) > room) {
    (first.size() > second.size() ? first : second).pop_back();
  }
}

class PairBuilder {
 public:
  PairBuilder(const TokenizedDocuments& sentences, const std::vector<int64_t>& begins,
              const SpecialIds& special, const BatchOptions& options)
      : sentences_(sentences),
        begins_(begins),
        special_(special),
        options_(options),
        random_(options.seed, kPairs) {}

  std::vector<PaddedExample> Build() {
    const int64_t documents = static_cast<int64_t>(begins_.size()) - 1;
    std::vector<PaddedExample> examples;
    for (int64_t d = 0; d < documents; ++d) {
      for (int64_t s = begins_[d]; s + 1 < begins_[d + 1];) s = AddPair(d, s, documents, examples);
    }
    return examples;
  }

 private:
  void Append(int64_t sentence, std::vector<int32_t>& ids) const {
    const auto more = sentences_.document(sentence);
    ids.insert(ids.end(), more.begin(), more.end());
  }

  // Takes sentences from `begin` on that fill the room, splits them in two, and returns where the
  // next pair begins: sentences that a stranger replaced are used again.
  int64_t AddPair(int64_t document, int64_t begin, int64_t documents,
                  std::vector<PaddedExample>& examples) {
    const int64_t room = options_.max_tokens - 3, stop = begins_[document + 1];
    int64_t end = begin, length = 0;
    while (end < stop && (end < begin + 2 || length < room)) {
      length += static_cast<int64_t>(sentences_.document(end).size());
      ++end;
    }
    const int64_t middle =
        begin + 1 + static_cast<int64_t>(random_.NextBelow(static_cast<uint64_t>(end - begin - 1)));
    std::vector<int32_t> first, second;
    for (int64_t s = begin; s < middle; ++s) Append(s, first);
    const bool stranger = documents > 1 && random_.NextBelow(2) == 1;
    if (stranger) {
      int64_t other = static_cast<int64_t>(random_.NextBelow(static_cast<uint64_t>(documents - 1)));
      if (other >= document) ++other;
      const int64_t count = begins_[other + 1] - begins_[other];
      if (count == 0) return end;
      const int64_t start =
          begins_[other] + static_cast<int64_t>(random_.NextBelow(static_cast<uint64_t>(count)));
      for (int64_t s = start;
           s < begins_[other + 1] && static_cast<int64_t>(first.size() + second.size()) < room;
           ++s) {
        Append(s, second);
      }
    } else {
      for (int64_t s = middle; s < end; ++s) Append(s, second);
    }
    TruncatePair(first, second, room);
    if (!first.empty() && !second.empty())
      examples.push_back(Join(first, second, stranger ? 1 : 0));
    return stranger ? middle : end;
  }

  PaddedExample Join(const std::vector<int32_t>& first, const std::vector<int32_t>& second,
                     int32_t label) const {
    PaddedExample example;
    example.ids.push_back(special_.cls);
    example.ids.insert(example.ids.end(), first.begin(), first.end());
    example.ids.push_back(special_.sep);
    example.second = static_cast<int64_t>(example.ids.size());
    example.ids.insert(example.ids.end(), second.begin(), second.end());
    example.ids.push_back(special_.sep);
    example.label = label;
    return example;
  }

  const TokenizedDocuments& sentences_;
  const std::vector<int64_t>& begins_;
  const SpecialIds& special_;
  const BatchOptions& options_;
  Random random_;
};

Result<std::unique_ptr<BatchSource>> Packed(const TokenizedDocuments& documents,
                                            const SpecialIds& special, const BatchOptions& options,
                                            const MaskOptions* mask) {
  auto source = std::make_unique<PackedSource>(documents, special, options, mask);
  if (source->blocks() == 0) {
    return InvalidArgument(
        StrCat("the texts do not fill one block of ", options.max_tokens, " tokens"));
  }
  return std::unique_ptr<BatchSource>(std::move(source));
}

}  // namespace

std::vector<int64_t> Shuffled(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  Random random(Key(seed, kOrder, static_cast<uint64_t>(epoch)));
  for (int64_t i = count - 1; i > 0; --i) {
    std::swap(order[i], order[random.NextBelow(static_cast<uint64_t>(i) + 1)]);
  }
  return order;
}

Result<SpecialIds> SpecialIdsOf(const Tokenizer& tokenizer, bool bidirectional) {
  SpecialIds ids;
  ids.vocab_size = tokenizer.vocab_size();
  ids.is_special.resize(static_cast<size_t>(ids.vocab_size));
  for (int32_t id = 0; id < ids.vocab_size; ++id) ids.is_special[id] = tokenizer.IsSpecial(id);
  if (tokenizer.pad_id()) ids.pad = *tokenizer.pad_id();
  if (bidirectional) {
    const auto named = [&](std::optional<int32_t> id, const char* token) {
      return id ? id : tokenizer.TokenToId(token);
    };
    const auto cls = named(tokenizer.cls_id(), "[CLS]"), sep = named(tokenizer.sep_id(), "[SEP]");
    const auto mask = named(tokenizer.mask_id(), "[MASK]");
    if (!cls || !sep || !mask) {
      return InvalidArgument("the tokenizer lacks one of the tokens [CLS], [SEP] and [MASK]");
    }
    ids.cls = *cls, ids.sep = *sep, ids.mask = *mask;
    if (const auto pad = named(tokenizer.pad_id(), "[PAD]")) ids.pad = *pad;
  } else {
    const auto eos = tokenizer.eos_id() ? tokenizer.eos_id() : tokenizer.TokenToId("<|endoftext|>");
    if (!eos) return InvalidArgument("the tokenizer names no end-of-text token");
    ids.separator = *eos;
  }
  return ids;
}

Result<SpecialIds> SpecialIdsOf(const Json& config) {
  SpecialIds ids;
  // Some name several ends: the first is written.
  const auto read = [&](std::string_view key) {
    const Json& value = config[key];
    const Json& id = value.is_array() && !value.items().empty() ? value.items().front() : value;
    return id.is_int() && id.as_int() >= 0 && id.as_int() <= INT32_MAX
               ? static_cast<int32_t>(id.as_int())
               : -1;
  };
  ids.pad = read("pad_token_id");
  ids.end = read("eos_token_id");
  ids.start = read("decoder_start_token_id");
  if (ids.start < 0) ids.start = read("bos_token_id");
  if (ids.end < 0 || ids.start < 0) {
    return InvalidArgument(
        "to write, the model's config must name 'eos_token_id' and 'decoder_start_token_id'");
  }
  if (ids.pad < 0) ids.pad = ids.end;
  return ids;
}

void MaskTokens(std::span<int32_t> ids, const SpecialIds& special, const MaskOptions& options,
                uint64_t key, int32_t first_row, std::vector<int32_t>& rows,
                std::vector<int32_t>& targets) {
  std::vector<int32_t> places;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!special.is_special[ids[i]]) places.push_back(static_cast<int32_t>(i));
  }
  if (places.empty()) return;
  const int64_t wanted =
      std::clamp<int64_t>(std::llround(options.share * static_cast<double>(places.size())), 1,
                          static_cast<int64_t>(places.size()));
  Random random(key);
  for (int64_t i = 0; i < wanted; ++i) {  // the first `wanted` of a shuffle
    std::swap(places[i], places[i + random.NextBelow(places.size() - static_cast<uint64_t>(i))]);
  }
  std::sort(places.begin(), places.begin() + wanted);
  for (int64_t i = 0; i < wanted; ++i) {
    int32_t& id = ids[places[i]];
    rows.push_back(first_row + places[i]);
    targets.push_back(id);
    const double chance = random.NextFloat();
    if (chance < options.replaced_by_mask) {
      id = special.mask;
    } else if (chance < options.replaced_by_mask + options.replaced_by_random) {
      do {
        id = static_cast<int32_t>(random.NextBelow(static_cast<uint64_t>(special.vocab_size)));
      } while (special.is_special[id]);
    }
  }
}

Result<std::unique_ptr<BatchSource>> PackCausal(const TokenizedDocuments& documents,
                                                const SpecialIds& special,
                                                const BatchOptions& options) {
  return Packed(documents, special, options, nullptr);
}

Result<std::unique_ptr<BatchSource>> PackMasked(const TokenizedDocuments& documents,
                                                const SpecialIds& special,
                                                const BatchOptions& options,
                                                const MaskOptions& mask) {
  if (options.max_tokens < 3) return InvalidArgument("a block needs at least three tokens");
  return Packed(documents, special, options, &mask);
}

Result<std::unique_ptr<BatchSource>> BucketClasses(const TokenizedDocuments& documents,
                                                   const SpecialIds& special,
                                                   const BatchOptions& options) {
  std::vector<PaddedExample> examples;
  for (const int64_t i : Upsampled(documents, options, false)) {
    if (documents.labels[i] < 0)
      return InvalidArgument("a text without a label cannot be classified");
    const auto ids = documents.document(i);
    const size_t room = static_cast<size_t>(std::max<int64_t>(options.max_tokens - 2, 0));
    PaddedExample example;
    example.ids.push_back(special.cls);
    example.ids.insert(example.ids.end(), ids.begin(),
                       ids.begin() + static_cast<int64_t>(std::min(room, ids.size())));
    example.ids.push_back(special.sep);
    example.second = static_cast<int64_t>(example.ids.size());
    example.label = documents.labels[i];
    examples.push_back(std::move(example));
  }
  if (examples.empty()) return InvalidArgument("there are no texts to classify");
  return std::unique_ptr<BatchSource>(
      std::make_unique<PaddedSource>(std::move(examples), special, options, false, nullptr));
}

Result<std::unique_ptr<BatchSource>> BucketPairs(const TokenizedDocuments& pairs,
                                                 const SpecialIds& special,
                                                 const BatchOptions& options) {
  std::vector<int64_t> order = Upsampled(pairs, options, false);
  if (order.empty()) return InvalidArgument("there are no texts with targets");
  return std::unique_ptr<BatchSource>(
      std::make_unique<PairSource>(pairs, std::move(order), special, options));
}

Result<std::unique_ptr<BatchSource>> PairSentences(const TokenizedDocuments& sentences,
                                                   const std::vector<int64_t>& document_begins,
                                                   const SpecialIds& special,
                                                   const BatchOptions& options,
                                                   const MaskOptions* mask) {
  std::vector<PaddedExample> examples =
      PairBuilder(sentences, document_begins, special, options).Build();
  if (examples.empty()) return InvalidArgument("no document has two sentences to make a pair of");
  return std::unique_ptr<BatchSource>(
      std::make_unique<PaddedSource>(std::move(examples), special, options, true, mask));
}

std::vector<std::string> SplitSentences(const std::string& text) {
  std::vector<std::string> sentences;
  size_t begin = 0;
  const auto cut = [&](size_t end) {
    while (begin < end && (text[begin] == ' ' || text[begin] == '\n')) ++begin;
    if (end > begin) sentences.push_back(text.substr(begin, end - begin));
    begin = end;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') {
      cut(i);
    } else if (text[i] == '.' || text[i] == '!' || text[i] == '?') {
      size_t end = i + 1;
      while (end < text.size() && (text[end] == '"' || text[end] == '\'' || text[end] == ')'))
        ++end;
      if (end == text.size() || text[end] == ' ') cut(end);
    }
  }
  cut(text.size());
  return sentences;
}

}  // namespace sotto
