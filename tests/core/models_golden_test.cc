// Every architecture and head against Hugging Face's own code, on the tiny models of
// tests/golden/models: each folder there is a case, and what its golden.safetensors holds is
// compared.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/io/model_folder.h"
#include "core/models/model.h"
#include "core/ops/ops.h"

namespace sotto {
namespace {

constexpr double kTolerance = 1e-4;

// How caches may keep keys and values, and how far that may move the outputs of random models,
// whose attention exaggerates, as a share of their root mean square: a trained one hardly notices
// (tests/bench/README.md).
constexpr std::pair<DType, double> kCaches[] = {
    {DType::kF32, 1e-5}, {DType::kF16, 2e-3}, {DType::kI8, 4e-2}};

class Distance {
 public:
  void Add(const float* actual, const float* expected, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const double apart = double{actual[i]} - expected[i];
      moved_ += apart * apart;
      all_ += double{expected[i]} * expected[i];
    }
  }
  double share() const { return std::sqrt(moved_ / all_); }

 private:
  double moved_ = 0, all_ = 0;
};

std::string Folder(const std::string& name) {
  return std::string(SOTTO_SOURCE_DIR "/tests/golden/models/") + name;
}

// The models with that golden file, where it holds `key`, if given, and not `absent`.
std::vector<std::string> ModelsWith(const std::string& file, const std::string& key = "",
                                    const std::string& absent = "") {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Folder(""))) {
    const std::string name = entry.path().filename().string();
    Result<FileView> view = FileView::Open(StrCat(Folder(name), "/", file));
    if (!view.ok()) continue;
    TensorSource source;
    if (!source.AddSafetensors(view->bytes(), nullptr).ok()) continue;
    if ((key.empty() || source.Has(key)) && (absent.empty() || !source.Has(absent)))
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string TestName(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::unique_ptr<Model> Open(const std::string& name, const LoadOptions& options = {}) {
  Result<ModelFiles> files = OpenModelFolder(Folder(name));
  EXPECT_TRUE(files.ok()) << files.status().message();
  Result<std::unique_ptr<Model>> model = CreateModel(*Json::Parse(files->config));
  EXPECT_TRUE(model.ok()) << model.status().message();
  const Status loaded = LoadWeights(**model, files->tensors, options);
  EXPECT_TRUE(loaded.ok()) << loaded.message();
  return *std::move(model);
}

class Golden {
 public:
  explicit Golden(const std::string& path) {
    Result<FileView> view = FileView::Open(path);
    EXPECT_TRUE(view.ok()) << view.status().message();
    auto owner = std::make_shared<FileView>(*std::move(view));
    const Status added = source_.AddSafetensors(owner->bytes(), owner);
    EXPECT_TRUE(added.ok()) << added.message();
  }
  bool Has(const std::string& name) const { return source_.Has(name); }
  // Empty where there is none.
  Tensor operator[](const std::string& name) { return Has(name) ? *source_.Take(name) : Tensor(); }
  std::vector<std::string> Names() const { return source_.Names(); }

 private:
  TensorSource source_;
};

// The rows of `mask` that are real; padding's outputs are nobody's business.
void ExpectClose(const Tensor& actual, const Tensor& expected, const Tensor& mask,
                 const std::string& what) {
  ASSERT_TRUE(actual) << what;
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  const int64_t columns = actual.shape().columns();
  const bool by_token = mask && actual.rank() == 3;
  for (int64_t r = 0; r < actual.shape().rows(); ++r) {
    if (by_token && static_cast<const uint8_t*>(mask.data())[r] == 0) continue;
    for (int64_t c = 0; c < columns; ++c) {
      const float a = actual.f32()[r * columns + c], e = expected.f32()[r * columns + c];
      ASSERT_NEAR(a, e, kTolerance * (1 + std::fabs(e))) << what << " row " << r << " column " << c;
    }
  }
}

// [batch, heads, queries, keys], of the queries that are real.
void ExpectSameAttention(const Tensor& actual, const Tensor& expected, const Tensor& mask,
                         const std::string& what) {
  ASSERT_EQ(actual.shape(), expected.shape()) << what;
  const int64_t heads = actual.dim(1), queries = actual.dim(2), keys = actual.dim(3);
  for (int64_t at = 0; at < actual.elements(); ++at) {
    const int64_t b = at / (heads * queries * keys), q = at / keys % queries;
    if (mask && static_cast<const uint8_t*>(mask.data())[b * queries + q] == 0) continue;
    ASSERT_NEAR(actual.f32()[at], expected.f32()[at], kTolerance) << what << " element " << at;
  }
}

class GoldenModel : public testing::TestWithParam<std::string> {};

TEST_P(GoldenModel, GivesTheReferencesOutputsWithPaddingOnEitherSide) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name);
  Golden golden(Folder(name) + "/golden.safetensors");
  for (const std::string side : {"right.", "left.", "single."}) {
    if (!golden.Has(side + "input_ids")) continue;
    Arena arena;
    ThreadPool pool(2);
    Context ctx(&arena, &pool);
    Probe probe;
    probe.want_attentions = probe.want_hidden_states = true;
    ctx.set_probe(&probe);
    ModelInput input{.ids = golden[side + "input_ids"],
                     .attention_mask = golden[side + "attention_mask"],
                     .token_type_ids = golden[side + "token_type_ids"],
                     .decoder_ids = golden[side + "decoder_input_ids"],
                     .decoder_attention_mask = golden[side + "decoder_attention_mask"]};
    const ModelOutput out = model->Forward(ctx, input);
    ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    const Tensor mask =
        model->is_encoder_decoder() ? input.decoder_attention_mask : input.attention_mask;
    for (const auto& [key, actual] :
         {std::pair<std::string, Tensor>{"last_hidden_state", out.last_hidden_state},
          {"pooler_output", out.pooler_output},
          {"logits", out.logits},
          {"next_sentence", out.next_sentence}}) {
      if (golden.Has(side + key)) ExpectClose(actual, golden[side + key], mask, side + key);
    }
    if (golden.Has(side + "encoder_last_hidden_state")) {
      ExpectClose(out.encoder_last_hidden_state, golden[side + "encoder_last_hidden_state"],
                  input.attention_mask, "encoder_last_hidden_state");
    }
    for (const auto& [key, actual, shown] :
         {std::tuple{"hidden_states.", &probe.hidden_states, mask},
          {"encoder_hidden_states.", &probe.encoder_hidden_states, input.attention_mask},
          {"decoder_hidden_states.", &probe.decoder_hidden_states, mask}}) {
      for (size_t i = 0; golden.Has(StrCat(side, key, i)); ++i) {
        ASSERT_LT(i, actual->size());
        ExpectClose((*actual)[i], golden[StrCat(side, key, i)], shown, StrCat(key, i));
      }
    }
    for (const auto& [key, actual, shown] :
         {std::tuple{"attentions.", &probe.attentions, mask},
          {"encoder_attentions.", &probe.encoder_attentions, input.attention_mask},
          {"decoder_attentions.", &probe.decoder_attentions, mask},
          {"cross_attentions.", &probe.cross_attentions, mask}}) {
      for (size_t i = 0; golden.Has(StrCat(side, key, i)); ++i) {
        ASSERT_LT(i, actual->size());
        ExpectSameAttention((*actual)[i], golden[StrCat(side, key, i)], shown, StrCat(key, i));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenModel, testing::ValuesIn(ModelsWith("golden.safetensors")),
                         TestName);

class GoldenDecoder : public testing::TestWithParam<std::string> {};

TEST_P(GoldenDecoder, GivesTheSameLogitsForACacheFedInPiecesOfAnySize) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name);
  Golden golden(Folder(name) + "/golden.safetensors");
  const Tensor ids = golden["single.input_ids"], expected = golden["single.logits"];
  const int64_t tokens = ids.dim(1), vocab = expected.dim(2);
  if (golden.Has("pieces.logits")) GTEST_SKIP() << "positions that depend on the length";
  const auto feed = [&](int64_t piece, KvCache cache, double most) {
    Arena arena;
    Context ctx(&arena);
    Distance distance;
    for (int64_t at = 0; at < tokens; at += piece) {
      const int64_t n = std::min(piece, tokens - at);
      const ModelInput input{
          .ids = *Tensor::FromInts({1, n}, {ids.i32() + at, static_cast<size_t>(n)})};
      const ModelOutput out = model->Forward(ctx, input, &cache);
      ASSERT_TRUE(ctx.ok()) << ctx.status().message();
      distance.Add(out.logits.f32(), expected.f32() + at * vocab, n * vocab);
    }
    EXPECT_LT(distance.share(), most) << "in pieces of " << piece;
    EXPECT_EQ(cache.length(), tokens);
  };
  for (const auto& [dtype, most] : kCaches) {
    SCOPED_TRACE(DTypeName(dtype));
    for (const int64_t piece : {int64_t{1}, int64_t{2}, int64_t{5}, int64_t{7}, tokens - 1, tokens})
      feed(piece, KvCache(dtype, tokens), most);
  }
}

TEST(Models, KeysStayAsTheyWereTurnedWherePositionsDependOnTheLength) {
  for (const std::string& name : ModelsWith("golden.safetensors", "pieces.logits")) {
    const std::unique_ptr<Model> model = Open(name);
    Golden golden(Folder(name) + "/golden.safetensors");
    const Tensor ids = golden["single.input_ids"], expected = golden["pieces.logits"];
    const int64_t tokens = ids.dim(1), piece = 5, vocab = expected.dim(2);
    Arena arena;
    Context ctx(&arena);
    KvCache cache;
    for (int64_t at = 0; at < tokens; at += piece) {
      const int64_t n = std::min(piece, tokens - at);
      const ModelInput input{
          .ids = *Tensor::FromInts({1, n}, {ids.i32() + at, static_cast<size_t>(n)})};
      const ModelOutput out = model->Forward(ctx, input, &cache);
      ASSERT_TRUE(ctx.ok()) << ctx.status().message();
      for (int64_t i = 0; i < n * vocab; ++i) {
        const float e = expected.f32()[at * vocab + i];
        ASSERT_NEAR(out.logits.f32()[i], e, kTolerance * (1 + std::fabs(e))) << name << at;
      }
    }
    // Told how long the sequence is, pieces give what it gives whole.
    cache.Truncate(0);
    const Tensor whole = golden["single.logits"];
    for (int64_t at = 0; at < tokens; at += piece) {
      const int64_t n = std::min(piece, tokens - at);
      const ModelInput input{
          .ids = *Tensor::FromInts({1, n}, {ids.i32() + at, static_cast<size_t>(n)}),
          .length = tokens};
      const ModelOutput out = model->Forward(ctx, input, &cache);
      ASSERT_TRUE(ctx.ok()) << ctx.status().message();
      for (int64_t i = 0; i < n * vocab; ++i) {
        const float e = whole.f32()[at * vocab + i];
        ASSERT_NEAR(out.logits.f32()[i], e, kTolerance * (1 + std::fabs(e))) << name << at;
      }
    }
  }
}

// `ids` and `mask` begin the sequences; each step appends the likeliest tokens.
void ExpectGreedy(const Model& model, const Tensor& ids, const Tensor& mask,
                  const Tensor& expected) {
  const int64_t batch = expected.dim(0), steps = expected.dim(1), prompt = ids.dim(1),
                vocab = model.vocab_size();
  Arena arena;
  Context ctx(&arena);
  KvCache cache;
  ModelInput input{.ids = ids};
  std::vector<std::vector<int32_t>> fed(static_cast<size_t>(batch));
  for (int64_t b = 0; b < batch; ++b)
    fed[b].assign(ids.i32() + b * prompt, ids.i32() + (b + 1) * prompt);
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t total = prompt + step;
    if (step > 0 && model.MustRestart(total - 1, total)) {
      cache.Truncate(0);
      input.ids = *Tensor::Allocate({batch, total}, DType::kI32);
      for (int64_t b = 0; b < batch; ++b)
        std::copy_n(fed[b].data(), total, input.ids.i32() + b * total);
    }
    if (mask) input.attention_mask = *Tensor::Allocate({batch, total}, DType::kU8);
    for (int64_t b = 0; mask && b < batch; ++b) {
      uint8_t* row = static_cast<uint8_t*>(input.attention_mask.data()) + b * total;
      std::fill_n(row, total, uint8_t{1});
      std::copy_n(static_cast<const uint8_t*>(mask.data()) + b * prompt, prompt, row);
    }
    const int64_t tokens = input.ids.dim(1);
    const ModelOutput out = model.Forward(ctx, input, &cache);
    ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    std::vector<int32_t> next;
    for (int64_t b = 0; b < batch; ++b) {
      const float* row = out.logits.f32() + ((b + 1) * tokens - 1) * vocab;
      next.push_back(static_cast<int32_t>(std::max_element(row, row + vocab) - row));
      EXPECT_EQ(next.back(), expected.i32()[b * steps + step])
          << "sequence " << b << " step " << step;
    }
    input.ids = *Tensor::FromInts({batch, 1}, next);
    for (int64_t b = 0; b < batch; ++b) fed[b].push_back(next[b]);
  }
}

TEST_P(GoldenDecoder, ContinuesGreedilyAsTheReferenceDoes) {
  const std::unique_ptr<Model> model = Open(GetParam());
  Golden golden(Folder(GetParam()) + "/golden.safetensors");
  const Tensor alone = *Tensor::FromInts({1, 8}, {golden["single.input_ids"].i32(), 8});
  ExpectGreedy(*model, alone, {}, golden["single.generated"]);
  if (!golden.Has("left.generated")) return;  // the architecture takes no padding on the left
  ExpectGreedy(*model, golden["left.input_ids"], golden["left.attention_mask"],
               golden["left.generated"]);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenDecoder,
                         testing::ValuesIn(ModelsWith("golden.safetensors", "single.generated",
                                                      "single.decoder_input_ids")),
                         TestName);

class GoldenEncoderDecoder : public testing::TestWithParam<std::string> {};

// Ids begin..end of the rows.
Tensor Columns(const Tensor& ids, int64_t begin, int64_t end) {
  Tensor out = *Tensor::Allocate({ids.dim(0), end - begin}, DType::kI32);
  for (int64_t b = 0; b < ids.dim(0); ++b) {
    std::copy_n(ids.i32() + b * ids.dim(1) + begin, end - begin, out.i32() + b * (end - begin));
  }
  return out;
}

TEST_P(GoldenEncoderDecoder, GivesTheSameForACacheFedInPiecesOfAnySizeFromIdsOrEncoderStates) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name);
  Golden golden(Folder(name) + "/golden.safetensors");
  const Tensor
      ids = golden["single.decoder_input_ids"],
      expected = golden[golden.Has("single.logits") ? "single.logits" : "single.last_hidden_state"];
  const int64_t tokens = ids.dim(1), width = expected.dim(2);
  const auto feed = [&](int64_t piece, KvCache cache, double most) {
    for (const bool encoded : {false, true}) {
      cache.Truncate(0);
      Arena arena;
      Context ctx(&arena);
      ModelInput input{.ids = golden["single.input_ids"]};
      if (encoded) input.encoder_states = golden["single.encoder_last_hidden_state"];
      if (encoded && !model->copies()) input.ids = {};
      Distance distance;
      for (int64_t at = 0; at < tokens; at += piece) {
        const int64_t n = std::min(piece, tokens - at);
        input.decoder_ids = Columns(ids, at, at + n);
        const ModelOutput out = model->Forward(ctx, input, &cache);
        ASSERT_TRUE(ctx.ok()) << ctx.status().message();
        EXPECT_EQ(static_cast<bool>(out.encoder_last_hidden_state), !encoded && at == 0);
        const Tensor& actual = out.logits ? out.logits : out.last_hidden_state;
        distance.Add(actual.f32(), expected.f32() + at * width, n * width);
        input = {};  // the cache has the rest
      }
      EXPECT_LT(distance.share(), most) << "in pieces of " << piece;
      EXPECT_EQ(cache.length(), tokens);
    }
  };
  for (const auto& [dtype, most] : kCaches) {
    SCOPED_TRACE(DTypeName(dtype));
    for (const int64_t piece : {int64_t{1}, int64_t{2}, int64_t{5}, tokens - 1, tokens})
      feed(piece, KvCache(dtype), most);
  }
}

class GoldenTranslation : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTranslation, DecodesGreedilyAsTheReferenceDoesFromSourcesPaddedOnEitherSide) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name);
  Golden golden(Folder(name) + "/golden.safetensors");
  for (const std::string side : {"right.", "left.", "single."}) {
    if (!golden.Has(side + "input_ids")) continue;
    const Tensor expected = golden[side + "generated"];
    ASSERT_TRUE(expected);
    Arena arena;
    Context ctx(&arena);
    KvCache cache;
    ModelInput input{.ids = golden[side + "input_ids"],
                     .attention_mask = golden[side + "attention_mask"]};
    for (int64_t step = 0; step + 1 < expected.dim(1); ++step) {
      input.decoder_ids = Columns(expected, step, step + 1);
      const ModelOutput out = model->Forward(ctx, input, &cache);
      ASSERT_TRUE(ctx.ok()) << ctx.status().message();
      const int64_t vocab = out.logits.dim(2);
      for (int64_t b = 0; b < expected.dim(0); ++b) {
        const float* row = out.logits.f32() + b * vocab;
        EXPECT_EQ(std::max_element(row, row + vocab) - row,
                  expected.i32()[b * expected.dim(1) + step + 1])
            << side << "sequence " << b << " step " << step;
      }
      input.ids = {};
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTranslation,
                         testing::ValuesIn(ModelsWith("golden.safetensors", "right.generated")),
                         TestName);

TEST_P(GoldenEncoderDecoder, GoesOnFromACacheWhoseRowsWereReordered) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name);
  Golden golden(Folder(name) + "/golden.safetensors");
  const Tensor ids = golden["right.decoder_input_ids"],
               source_mask = golden["right.attention_mask"];
  const int64_t source = source_mask.dim(1);
  Arena arena;
  Context ctx(&arena);
  const auto last = [&](const ModelOutput& out) {
    return out.logits ? out.logits : out.last_hidden_state;
  };
  // The dtype is one of those that round what the encoder gave, too.
  KvCache straight(DType::kI8), reordered(DType::kI8);
  ModelInput input{.ids = golden["right.input_ids"], .attention_mask = source_mask};
  input.decoder_ids = Columns(ids, 0, 2);
  model->Forward(ctx, input, &straight);
  model->Forward(ctx, input, &reordered);
  input.decoder_ids = Columns(ids, 2, 3);
  const Tensor expected = last(model->Forward(ctx, input, &straight));
  const std::vector<int32_t> rows = {2, 0, 0, 1};
  reordered.Reorder(ctx, rows);
  ModelInput next{.attention_mask = *Tensor::Allocate({4, source}, DType::kU8),
                  .decoder_ids = *Tensor::Allocate({4, 1}, DType::kI32)};
  for (size_t b = 0; b < rows.size(); ++b) {
    std::copy_n(static_cast<const uint8_t*>(source_mask.data()) + rows[b] * source, source,
                static_cast<uint8_t*>(next.attention_mask.data()) + b * source);
    next.decoder_ids.i32()[b] = input.decoder_ids.i32()[rows[b]];
  }
  const Tensor actual = last(model->Forward(ctx, next, &reordered));
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  const int64_t width = expected.dim(2);
  for (size_t b = 0; b < rows.size(); ++b) {
    for (int64_t i = 0; i < width; ++i) {
      ASSERT_NEAR(actual.f32()[b * width + i], expected.f32()[rows[b] * width + i], 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, GoldenEncoderDecoder,
                         testing::ValuesIn(ModelsWith("golden.safetensors",
                                                      "single.decoder_input_ids")),
                         TestName);

class GoldenGradients : public testing::TestWithParam<std::string> {};

TEST_P(GoldenGradients, MatchPyTorchForEveryParameter) {
  const std::string name = GetParam();
  const std::unique_ptr<Model> model = Open(name, {.writable = true});
  Golden golden(Folder(name) + "/gradients.safetensors");
  model->parameters().RequireGrad(true);
  Arena arena;
  ThreadPool pool(2);
  Context ctx(&arena, &pool);
  Tape tape;
  ctx.set_tape(&tape);
  const ModelInput input{.ids = golden["input_ids"],
                         .attention_mask = golden["attention_mask"],
                         .token_type_ids = golden["token_type_ids"],
                         .decoder_ids = golden["decoder_input_ids"]};
  const ModelOutput out = model->Forward(ctx, input);
  Tensor targets = golden["labels"];
  if (model->head() == Head::kCausalLM) {  // each position predicts the next one's id
    const int64_t tokens = targets.dim(1);
    Tensor shifted = *Tensor::Allocate(targets.shape(), DType::kI32);
    for (int64_t i = 0; i < targets.elements(); ++i) {
      shifted.i32()[i] = (i + 1) % tokens == 0 ? kIgnoreTarget : targets.i32()[i + 1];
    }
    targets = shifted;
  }
  const Tensor loss = CrossEntropy(ctx, out.logits, targets);
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  EXPECT_NEAR(*loss.f32(), *golden["loss"].f32(), 1e-5);
  ASSERT_TRUE(tape.Run(ctx, loss).ok()) << ctx.status().message();
  size_t compared = 0;
  for (const Parameter& p : model->parameters().all()) {
    if (p.kind == Parameter::Kind::kConstant) continue;
    ASSERT_TRUE(golden.Has("gradient." + p.name)) << p.name;
    const Tensor grad = p.tensor->grad_slot()->grad;
    ASSERT_TRUE(grad) << p.name << " got no gradient";
    Tensor expected = golden["gradient." + p.name];
    if (p.stored_transposed) expected = *Transposed(expected);
    if (p.taps > 0) expected = expected.Reshaped(p.shape);
    ASSERT_EQ(grad.shape(), expected.shape()) << p.name;
    for (int64_t i = 0; i < grad.elements(); ++i) {
      ASSERT_NEAR(grad.f32()[i], expected.f32()[i], 2e-5 * (1 + std::fabs(expected.f32()[i])))
          << p.name << " element " << i;
    }
    ++compared;
  }
  size_t stored = 0;
  for (const std::string& key : golden.Names()) stored += key.starts_with("gradient.");
  EXPECT_EQ(compared, stored);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenGradients,
                         testing::ValuesIn(ModelsWith("gradients.safetensors")), TestName);

TEST(Models, NamesTheClassOfAnArchitectureWithAHead) {
  const auto name = [](const char* type, Head head) { return *ClassName(type, head); };
  EXPECT_EQ(name("bert", Head::kPreTraining), "BertForPreTraining");
  EXPECT_EQ(name("roberta", Head::kMaskedLM), "RobertaForMaskedLM");
  EXPECT_EQ(name("xlm-roberta", Head::kSequenceClassification),
            "XLMRobertaForSequenceClassification");
  EXPECT_EQ(name("electra", Head::kMaskedLM), "ElectraForMaskedLM");
  EXPECT_EQ(name("gpt2", Head::kCausalLM), "GPT2LMHeadModel");
  EXPECT_EQ(name("llama", Head::kCausalLM), "LlamaForCausalLM");
  EXPECT_EQ(name("bart", Head::kSeq2SeqLM), "BartForConditionalGeneration");
  EXPECT_EQ(name("bart", Head::kNone), "BartModel");
  EXPECT_EQ(name("marian", Head::kSeq2SeqLM), "MarianMTModel");
  EXPECT_EQ(name("marian", Head::kCausalLM), "MarianForCausalLM");
  EXPECT_EQ(name("mt5", Head::kEncoder), "MT5EncoderModel");
  EXPECT_NE(ClassName("jamba", Head::kNone).status().message().find("jamba"), std::string::npos);
}

TEST(Models, T5SettingsThatAreNotImplementedAreErrorsThatNameThem) {
  const auto message = [](const std::string& members) {
    const Result<std::unique_ptr<Model>> model =
        CreateModel(*Json::Parse(R"({"model_type": "t5", "d_model": 8)" + members + "}"));
    return model.ok() ? "" : std::string(model.status().message());
  };
  EXPECT_EQ(message(R"(, "num_layers": 1, "vocab_size": 9, "feed_forward_proj": "gated-silu")"),
            "");
  const std::pair<const char*, const char*> kRefused[] = {
      {R"(, "feed_forward_proj": "gated-snake")", "snake"},
      {R"(, "relative_attention_num_buckets": 3)", "relative_attention_num_buckets"},
      {R"(, "relative_attention_max_distance": 16)", "relative_attention_max_distance"},
      {R"(, "num_decoder_layers": -1)", "num_decoder_layers"},
      {R"(, "dropout_rate": 1)", "dropout_rate"},
      {R"(, "is_encoder_decoder": false, "architectures": ["T5Model"])", "is_encoder_decoder"},
      {R"(, "architectures": ["T5ForCausalLM"])", "T5ForCausalLM"},
      {R"(, "architectures": ["T5ForImages"])", "T5ForImages"}};
  for (const auto& [members, named] : kRefused)
    EXPECT_NE(message(members).find(named), std::string::npos) << members << message(members);
}

TEST(Models, AnOutputThatACheckpointMayLackIsItsEmbeddingsAndNoParameter) {
  const std::unique_ptr<Model> tied = Open("mt5-tied"), own = Open("mt5");
  EXPECT_EQ(tied->parameters().Find("lm_head.weight"), nullptr);
  EXPECT_NE(own->parameters().Find("lm_head.weight"), nullptr);
  const std::unique_ptr<Model> again = *CreateModel(tied->config());
  TensorSource source;
  const NamedTensors saved = *ExportWeights(*tied, SaveFormat::kF32);
  for (const auto& [name, tensor] : saved) ASSERT_TRUE(source.Add(name, tensor).ok());
  EXPECT_TRUE(LoadWeights(*again, source).ok());
}

TEST(Models, AT5GetsAHeadOfAnotherKindToFineTune) {
  const std::string name = "t5";
  for (const char* type : {"T5ForQuestionAnswering", "T5ForSequenceClassification",
                           "T5ForTokenClassification", "T5EncoderModel"}) {
    Result<ModelFiles> files = OpenModelFolder(Folder(name));
    const Json config = *Json::Parse(files->config);
    std::vector<Json::Member> members;
    for (const auto& [key, value] : config.members()) {
      if (key != "architectures") members.emplace_back(key, value);
    }
    members.emplace_back("architectures", Json::Array({Json::String(type)}));
    const std::unique_ptr<Model> model = *CreateModel(Json::Object(std::move(members)));
    const Status loaded = LoadWeights(*model, files->tensors, {.fresh_head = true});
    ASSERT_TRUE(loaded.ok()) << type << loaded.message();
    for (const Parameter& p : model->parameters().all()) EXPECT_TRUE(*p.tensor) << p.name;
  }
}

// What a recipe names by its type alone, CreateModel understands.
TEST(Models, EveryGoldenModelsClassIsTheOneThatIsNamed) {
  for (const std::string& folder : ModelsWith("golden.safetensors")) {
    const Json config = *Json::Parse(*ReadFile(Folder(folder) + "/config.json"));
    const std::unique_ptr<Model> model = *CreateModel(config);
    const std::string given = config["architectures"].items()[0].as_string();
    if (config.has("text_config") || given.find("Text") != given.npos || model->copies()) continue;
    EXPECT_EQ(*ClassName(config["model_type"].as_string(), model->head()), given) << folder;
  }
}

TEST(Models, AnUnknownArchitectureOrHeadIsAnErrorThatNamesIt) {
  const auto message = [](const char* config) {
    return CreateModel(*Json::Parse(config)).status().message();
  };
  EXPECT_NE(message(R"({"model_type": "jamba"})").find("jamba"), std::string::npos);
  EXPECT_NE(message(R"({"model_type": "bert", "architectures": ["BertForImages"]})")
                .find("BertForImages"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "bert", "architectures": ["BertEncoderModel"]})").size(), 0u);
  EXPECT_NE(message(R"({"model_type": "bert", "architectures": ["GPT2LMHeadModel"]})")
                .find("GPT2LMHeadModel"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "bert", "position_embedding_type": "relative_key"})")
                .find("relative_key"),
            std::string::npos);
  EXPECT_NE(
      message(R"({"model_type": "llama", "rope_scaling": {"rope_type": "spiral", "factor": 2.0}})")
          .find("spiral"),
      std::string::npos);
}

// The checkpoint of a model for images and text, as older and newer versions name its tensors.
TEST(Models, Gemma3TakesTheTextModelOutOfOneForImagesAndText) {
  const std::unique_ptr<Model> text = Open("gemma3");
  Golden golden(Folder("gemma3") + "/golden.safetensors");
  const Tensor expected = golden["single.logits"];
  const Json config = Json::Object(
      {{"model_type", Json::String("gemma3")},
       {"architectures", Json::Array({Json::String("Gemma3ForConditionalGeneration")})},
       {"text_config", text->config()}});
  for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
    NamedTensors tensors = *ExportWeights(*text, SaveFormat::kF32);
    TensorSource source;
    for (auto& [name, tensor] : tensors)
      ASSERT_TRUE(source.Add(prefix + name.substr(text->base_prefix().size()), tensor).ok());
    ASSERT_TRUE(source.Add("vision_tower.embeddings.weight", tensors[0].second).ok());
    const std::unique_ptr<Model> model = *CreateModel(config);
    EXPECT_EQ(model->head(), Head::kCausalLM);
    const Status loaded = LoadWeights(*model, source);
    ASSERT_TRUE(loaded.ok()) << loaded.message();
    Arena arena;
    Context ctx(&arena);
    const ModelOutput out = model->Forward(ctx, {.ids = golden["single.input_ids"]});
    ASSERT_TRUE(ctx.ok()) << ctx.status().message();
    ExpectClose(out.logits, expected, {}, prefix);
  }
}

TEST(Models, DecoderSettingsThatAreNotImplementedAreErrorsThatNameThem) {
  const auto names = [](const char* config, const char* what) {
    const std::string message = CreateModel(*Json::Parse(config)).status().message();
    EXPECT_NE(message.find(what), std::string::npos) << config << ": " << message;
  };
  names(R"({"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["linear_attention"]})",
        "linear_attention");
  names(R"({"model_type": "qwen3", "num_hidden_layers": 2, "layer_types": ["full_attention"]})",
        "layer_types");
  names(R"({"model_type": "qwen3", "num_hidden_layers": 1, "layer_types": ["sliding_attention"]})",
        "sliding_window");
  names(R"({"model_type": "qwen2", "use_sliding_window": true, "sliding_window": -1})",
        "sliding_window");
  names(R"({"model_type": "smollm3", "num_hidden_layers": 3, "no_rope_layers": [1, 0]})",
        "no_rope_layers");
  names(R"({"model_type": "llama", "hidden_size": 36, "num_attention_heads": 5})", "heads");
  names(R"({"model_type": "llama", "head_dim": 7})", "7 columns");
  names(R"({"model_type": "granite", "logits_scaling": 0})", "logits_scaling");
  names(R"({"model_type": "mistral", "layer_types": ["full_attention"]})", "layer_types");
  names(R"({"model_type": "phi3", "attention_bias": true})", "attention_bias");
  names(R"({"model_type": "gemma3_text", "query_pre_attn_scalar": 0})", "query_pre_attn_scalar");
  names(R"({"model_type": "gemma3_text", "final_logit_softcapping": -3})", "final_logit");
  names(R"({"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"],
            "use_bidirectional_attention": true})",
        "use_bidirectional_attention");
  names(R"({"model_type": "gpt_neo", "num_layers": 3,
            "attention_types": [[["global", "local"], 1]]})",
        "attention_types");
  names(R"({"model_type": "gpt_neo", "num_layers": 1, "attention_types": [[["far"], 1]]})",
        "attention_types");
  names(R"({"model_type": "gpt_neox", "rotary_pct": 1.5})", "share");
}

TEST(Models, AHeadThatAnArchitectureLacksIsAnErrorThatNamesTheClass) {
  for (const auto& [type, name] : {std::pair{"roberta", "RobertaForNextSentencePrediction"},
                                   {"roberta", "RobertaForCausalLM"},
                                   {"distilbert", "DistilBertForPreTraining"},
                                   {"mpnet", "MPNetForPreTraining"},
                                   {"electra", "ElectraForNextSentencePrediction"},
                                   {"bert", "BertLMHeadModel"},
                                   {"gpt2", "GPT2DoubleHeadsModel"}}) {
    const Json config = Json::Object(
        {{"model_type", Json::String(type)}, {"architectures", Json::Array({Json::String(name)})}});
    EXPECT_NE(CreateModel(config).status().message().find(name), std::string::npos) << name;
  }
}

TEST(Models, SettingsOfEncodersThatAreNotImplementedAreErrorsThatNameThem) {
  const auto message = [](const char* config) {
    return CreateModel(*Json::Parse(config)).status().message();
  };
  EXPECT_NE(message(R"({"model_type": "electra", "architectures": ["ElectraForMultipleChoice"],
                        "summary_type": "cls_index"})")
                .find("summary_type"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "albert", "num_hidden_layers": 2, "num_hidden_groups": 3})")
                .find("num_hidden_groups"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "mpnet", "relative_attention_num_buckets": 16})")
                .find("relative_attention_num_buckets"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "roberta", "pad_token_id": 60000})").find("pad_token_id"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": 2})")
                .find("max_position_embeddings"),
            std::string::npos);
  EXPECT_NE(message(R"({"model_type": "xlm-roberta", "is_decoder": true})").find("is_decoder"),
            std::string::npos);
}

TEST(Models, ABareEncoderNeedsNoPooler) {
  Result<ModelFiles> files = OpenModelFolder(Folder("roberta"));
  const std::unique_ptr<Model> whole = Open("roberta");
  TensorSource source;
  NamedTensors tensors = *ExportWeights(*whole, SaveFormat::kF32);
  for (auto& [name, tensor] : tensors) {
    if (name.find("pooler") == name.npos) ASSERT_TRUE(source.Add(name, tensor).ok());
  }
  const std::unique_ptr<Model> model = *CreateModel(*Json::Parse(files->config));
  EXPECT_TRUE(CheckWeights(*model, source).empty());
  ASSERT_TRUE(LoadWeights(*model, source).ok());
  Arena arena;
  Context ctx(&arena);
  const ModelOutput out = model->Forward(ctx, {.ids = *Tensor::Zeros({1, 4}, DType::kI32)});
  ASSERT_TRUE(ctx.ok()) << ctx.status().message();
  EXPECT_TRUE(out.last_hidden_state);
  EXPECT_FALSE(out.pooler_output);
  EXPECT_TRUE(ExportWeights(*model, SaveFormat::kF32).ok());
}

TEST(Models, SettingsThatNoArchitectureImplementsAreErrorsThatNameThem) {
  for (const char* type : {"bert", "llama", "bart", "mamba", "gemma3_text"}) {
    for (const auto& [key, value] :
         {std::pair{"quantization_config", R"({"quant_method": "awq", "bits": 4})"},
          {"pruned_heads", R"({"0": [1]})"}}) {
      const std::string config =
          StrCat(R"({"model_type": ")", type, R"(", ")", key, R"(": )", value, "}");
      const Status status = CreateModel(*Json::Parse(config)).status();
      EXPECT_EQ(status.code(), StatusCode::kUnsupported) << config;
      EXPECT_NE(status.message().find(key), std::string::npos) << status.message();
    }
  }
}

TEST(Models, HyperParametersOutOfRangeAreRefused) {
  const auto refused = [](const char* config) { return !CreateModel(*Json::Parse(config)).ok(); };
  EXPECT_TRUE(refused(R"({"model_type": "bert", "hidden_size": -1})"));
  EXPECT_TRUE(refused(R"({"model_type": "bert", "hidden_size": 1e99})"));
  EXPECT_TRUE(refused(R"({"model_type": "bert", "hidden_size": 100, "num_attention_heads": 12})"));
  EXPECT_TRUE(refused(R"({"model_type": "bert", "vocab_size": "many"})"));
  EXPECT_TRUE(refused(R"({"model_type": "bert", "num_hidden_layers": 4294967297})"));
  EXPECT_TRUE(
      refused(R"({"model_type": "llama", "num_attention_heads": 6, "num_key_value_heads": 4})"));
  EXPECT_TRUE(refused(R"({"model_type": "bert", "id2label": {"0": "a", "2": "b"}})"));
}

// Every value of every config, and of the objects within, changed into others: a model or an error
// comes of it, and where the value is of another kind than the key's, mostly an error.
TEST(Models, AnyValueInPlaceOfAnotherIsAModelOrAnErrorAndNothingElse) {
  std::vector<Json> odd;
  for (const char* text :
       {"null", "true", "0", "-1", "1", "7", "2147483648", "9223372036854775807", "1e99", "-1e99",
        "0.5", "\"x\"", "\"\"", "[]", "[null]", "[-1, 1e99]", "{}", "{\"x\": [1]}"}) {
    odd.push_back(*Json::Parse(text));
  }
  const auto replaced = [](const Json& object, size_t at, const Json& value) {
    std::vector<Json::Member> members = object.members();
    members[at].second = value;
    return Json::Object(std::move(members));
  };
  int64_t models = 0, errors = 0;
  const auto create = [&](const Json& config) {
    const Result<std::unique_ptr<Model>> model = CreateModel(config);
    ++(model.ok() ? models : errors);
    if (!model.ok()) EXPECT_FALSE(model.status().message().empty());
  };
  std::set<std::string> seen;  // one config of each architecture and head
  for (const std::string& folder : ModelsWith("golden.safetensors")) {
    const Json config = *Json::Parse(*ReadFile(Folder(folder) + "/config.json"));
    if (!seen.insert(config["architectures"].Dump()).second) continue;
    for (size_t i = 0; i < config.members().size(); ++i) {
      const Json& old = config.members()[i].second;
      for (const Json& value : odd) create(replaced(config, i, value));
      for (size_t k = 0; k < old.members().size(); ++k) {
        for (const Json& value : odd) create(replaced(config, i, replaced(old, k, value)));
      }
    }
  }
  EXPECT_GT(models, 1000);
  EXPECT_GT(errors, 1000);
}

TEST(Models, AMissingExtraOrMisshapenTensorIsAnErrorThatNamesIt) {
  Result<ModelFiles> files = OpenModelFolder(Folder("gpt2"));
  const Json config = *Json::Parse(files->config);
  const auto load = [&](const std::function<void(NamedTensors&)>& change) {
    const std::unique_ptr<Model> whole = Open("gpt2");
    NamedTensors tensors = *ExportWeights(*whole, SaveFormat::kF32);
    change(tensors);
    TensorSource source;
    for (auto& [name, tensor] : tensors) EXPECT_TRUE(source.Add(name, tensor).ok());
    return LoadWeights(**CreateModel(config), source).message();
  };
  EXPECT_EQ(load([](NamedTensors&) {}), "");
  EXPECT_NE(load([](NamedTensors& t) { t.erase(t.begin()); }).find("transformer.wte.weight"),
            std::string::npos);
  EXPECT_NE(load([](NamedTensors& t) { t.emplace_back("stranger", t[0].second); }).find("stranger"),
            std::string::npos);
  EXPECT_NE(load([](NamedTensors& t) { t[0].second = t[1].second; }).find("transformer.wte.weight"),
            std::string::npos);
}

TEST(Models, InputsThatDoNotFitAreErrors) {
  const std::unique_ptr<Model> model = Open("gpt2");
  Arena arena;
  const auto message = [&](const ModelInput& input) {
    Context ctx(&arena);
    model->Forward(ctx, input);
    return ctx.status().message();
  };
  EXPECT_NE(message({.ids = *Tensor::FromInts({1, 1}, std::vector<int32_t>{97})}).find("97"),
            std::string::npos);
  EXPECT_NE(message({.ids = *Tensor::Zeros({1, 49}, DType::kI32)}).find("at most 48"),
            std::string::npos);
  EXPECT_NE(message({.ids = *Tensor::Zeros({1, 0}, DType::kI32)}).find("at least one"),
            std::string::npos);
  EXPECT_NE(message({.ids = *Tensor::Zeros({1, 4}, DType::kI32),
                     .attention_mask = *Tensor::Zeros({1, 3}, DType::kU8)})
                .find("mask"),
            std::string::npos);
}

// A small GPT-2 with fresh weights, of which every matrix can be packed.
std::unique_ptr<Model> FreshGpt2() {
  std::unique_ptr<Model> model = *CreateModel(*Json::Parse(
      R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 96,
          "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32})"));
  EXPECT_TRUE(model->parameters().Initialize(1, 0.1f).ok());
  return model;
}

// A model like `model` with weights from `tensors`.
Result<std::unique_ptr<Model>> Reload(const Model& model, const NamedTensors& tensors,
                                      WeightFormat format) {
  TensorSource source;
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(source.Add(name, tensor).ok());
  std::unique_ptr<Model> loaded = *CreateModel(model.config());
  SOTTO_RETURN_IF_ERROR(LoadWeights(*loaded, source, {.format = format}));
  return loaded;
}

std::vector<float> LogitsOf(const Model& model) {
  Arena arena;
  Context ctx(&arena);
  const Tensor ids = *Tensor::FromInts({1, 6}, std::vector<int32_t>{5, 9, 90, 33, 1, 2});
  const ModelOutput out = model.Forward(ctx, {.ids = ids});
  EXPECT_TRUE(ctx.ok()) << ctx.status().message();
  return {out.logits.floats().begin(), out.logits.floats().end()};
}

double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    error += std::pow(a[i] - b[i], 2);
    norm += std::pow(b[i], 2);
  }
  return std::sqrt(error / norm);
}

TEST(Models, RoundedWeightsSurviveExportInEveryFormatAndStayClose) {
  const std::unique_ptr<Model> model = FreshGpt2();
  const std::vector<float> exact = LogitsOf(*model);
  double previous = 0;
  for (const auto& [save, load, bound] : {std::tuple{SaveFormat::kQ8, WeightFormat::kQ8, 0.05},
                                          {SaveFormat::kQ4, WeightFormat::kQ4, 0.3}}) {
    const NamedTensors stored = *ExportWeights(*model, save);
    const std::vector<float> as_stored =
        LogitsOf(**Reload(*model, stored, WeightFormat::kAsStored));
    EXPECT_LT(RelativeError(as_stored, exact), bound);
    EXPECT_GT(RelativeError(as_stored, exact), previous);
    previous = bound / 3;
    // Rounding at load gives what rounding at export gave.
    const NamedTensors floats = *ExportWeights(*model, SaveFormat::kF32);
    EXPECT_EQ(LogitsOf(**Reload(*model, floats, load)), as_stored);
    // The stored values as floats differ by the rounding of the activations alone.
    EXPECT_LT(RelativeError(LogitsOf(**Reload(*model, stored, WeightFormat::kF32)), as_stored),
              0.02);
    for (const WeightFormat other : {WeightFormat::kQ8, WeightFormat::kQ4}) {
      EXPECT_LT(RelativeError(LogitsOf(**Reload(*model, stored, other)), as_stored), 0.3);
    }
  }
}

TEST(Models, RoundedWeightsWithoutTheirScalesAreAnErrorThatNamesThem) {
  const std::unique_ptr<Model> model = FreshGpt2();
  for (const SaveFormat format : {SaveFormat::kQ8, SaveFormat::kQ4}) {
    NamedTensors tensors = *ExportWeights(*model, format);
    std::erase_if(tensors, [](const auto& t) { return t.first == "transformer.wte.weight.scale"; });
    const Status status = Reload(*model, tensors, WeightFormat::kAsStored).status();
    EXPECT_NE(status.message().find("transformer.wte.weight.scale"), std::string::npos)
        << status.message();
  }
}

}  // namespace
}  // namespace sotto
