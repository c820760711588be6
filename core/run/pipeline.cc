#include "core/run/pipeline.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sotto {
namespace {

// Tokens that a text gets where neither the caller nor the model says: as Hugging Face's pipelines.
constexpr int64_t kDefaultNewTokens = 256;

Status CheckOptions(const Json& options, std::string_view task,
                    std::initializer_list<std::string_view> known) {
  if (!options.is_null() && !options.is_object())
    return InvalidArgument("options must be an object");
  for (const auto& [key, value] : options.members()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return InvalidArgument(StrCat("'", key, "' is not an option of ", task));
    }
  }
  return OkStatus();
}

// Runs `one` on a text, or on each of a list; a list gives a list.
template <class One>
Result<Json> Each(const Json& input, const One& one) {
  if (!input.is_array()) return one(input);
  std::vector<Json> out;
  for (size_t i = 0; i < input.items().size(); ++i) {
    Result<Json> result = one(input.items()[i]);
    if (!result.ok()) return result.status().In(StrCat("input ", i));
    out.push_back(*std::move(result));
  }
  return Json::Array(std::move(out));
}

// Options but for one, or what is in their place.
Json Without(const Json& options, std::string_view key) {
  if (!options.is_object()) return options;
  std::vector<Json::Member> rest;
  for (const Json::Member& member : options.members()) {
    if (member.first != key) rest.push_back(member);
  }
  return Json::Object(std::move(rest));
}

Status CheckText(const Json& input, std::string_view task) {
  return input.is_string() ? OkStatus()
                           : InvalidArgument(StrCat(task, " takes a text or a list of texts"));
}

Result<Tensor> Ids(Context& ctx, std::span<const int32_t> ids) {
  Tensor out = ctx.New({1, static_cast<int64_t>(ids.size())}, DType::kI32);
  if (!out) return ctx.status();
  std::copy(ids.begin(), ids.end(), out.i32());
  return out;
}

std::vector<double> SoftmaxOf(std::span<const float> logits) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  std::vector<double> out(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i)
    sum += out[i] = std::exp(static_cast<double>(logits[i]) - peak);
  for (double& p : out) p /= sum;
  return out;
}

// By falling score; of equal scores the smaller index comes first.
void SortByScore(std::vector<size_t>& order, const std::vector<double>& scores) {
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
}

std::vector<size_t> Ranked(const std::vector<double>& scores) {
  std::vector<size_t> order(scores.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  SortByScore(order, scores);
  return order;
}

}  // namespace

struct Pipeline::Task {
  std::string_view name, alias;
  Head head;      // that the checkpoint must have
  bool any_head;  // the hidden states of any model do
  Result<Json> (Pipeline::*run)(const Json& input, const Json& options);
};

const Pipeline::Task Pipeline::kTasks[] = {
    {"text-classification", "sentiment-analysis", Head::kSequenceClassification, false,
     &Pipeline::Classify},
    {"fill-mask", "", Head::kMaskedLM, false, &Pipeline::FillMask},
    {"feature-extraction", "", Head::kNone, true, &Pipeline::ExtractJson},
    {"text-generation", "", Head::kCausalLM, false, &Pipeline::GenerateText},
    {"text2text-generation", "", Head::kSeq2SeqLM, false, &Pipeline::GenerateFromText},
};

std::vector<std::string_view> TaskNames() {
  return {"text-classification", "sentiment-analysis", "fill-mask",
          "feature-extraction",  "text-generation",    "text2text-generation"};
}

Result<std::unique_ptr<Pipeline>> Pipeline::Load(std::string_view task, ModelFiles files,
                                                 const Options& options) {
  const Result<Json> config = Json::Parse(files.config);
  if (!config.ok()) return config.status().In("config.json");
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, CreateModel(*config));
  // What is wrong with the texts shows before the weights are read.
  Model* const filled = model.get();
  SOTTO_ASSIGN_OR_RETURN(Tokenizer tokenizer, TokenizerOf(files));
  SOTTO_ASSIGN_OR_RETURN(std::unique_ptr<Pipeline> pipeline,
                         Load(task, files, std::move(model), std::move(tokenizer), options));
  SOTTO_RETURN_IF_ERROR(LoadWeights(*filled, files.tensors, {.format = options.format}));
  return pipeline;
}

Result<std::unique_ptr<Pipeline>> Pipeline::Load(std::string_view task, ModelFiles& files,
                                                 std::unique_ptr<Model> model, Tokenizer tokenizer,
                                                 const Options& options) {
  std::unique_ptr<Pipeline> p(
      new Pipeline(options.pool ? options.pool : std::make_shared<ThreadPool>(options.threads)));
  const Task* found = nullptr;
  for (const Task& t : kTasks) {
    if (!task.empty() && (t.name == task || t.alias == task)) found = &t;
  }
  if (found == nullptr && !task.empty())
    return Unsupported(StrCat("the task '", task, "' is not implemented"));
  if (found != nullptr) p->task_ = found->name;
  p->model_ = std::move(model);
  if (found != nullptr && !found->any_head && p->model_->head() != found->head) {
    return InvalidArgument(StrCat("this model (", p->model_->config()["architectures"].Dump(),
                                  ") has no head for ", found->name));
  }
  if (!files.generation_config.empty()) {
    Result<Json> generation = Json::Parse(files.generation_config);
    if (!generation.ok()) return generation.status().In("generation_config.json");
    p->generation_config_ = *std::move(generation);
  }
  if (tokenizer.vocab_size() > p->model_->vocab_size()) {
    return InvalidFile(StrCat("the tokenizer has ids up to ", tokenizer.vocab_size() - 1,
                              ", but the model embeds only ", p->model_->vocab_size()));
  }
  p->tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
  if (p->task_ == "feature-extraction")
    p->sentence_ = SentenceModules::Read(files, p->model_->hidden_size());
  return p;
}

Result<Json> Pipeline::Run(const Json& input, const Json& options) {
  for (const Task& t : kTasks) {
    if (t.name == task_) return (this->*t.run)(input, options);
  }
  return InvalidArgument("this model was loaded without a task");
}

int Pipeline::LongestText() const {
  const int64_t positions = model_->max_positions();
  return static_cast<int>(positions > 0 ? positions : tokenizer_->model_max_length());
}

Result<Encoding> Pipeline::EncodeText(const Json& input, bool truncate) const {
  EncodeOptions options;
  options.parse_special = false;
  if (truncate) options.max_length = LongestText();
  if (input.is_object() && input["text"].is_string()) {
    if (input["text_pair"].is_string()) {
      return tokenizer_->EncodePair(input["text"].as_string(), input["text_pair"].as_string(),
                                    options);
    }
    return tokenizer_->Encode(input["text"].as_string(), options);
  }
  SOTTO_RETURN_IF_ERROR(CheckText(input, task_));
  return tokenizer_->Encode(input.as_string(), options);
}

Result<ModelOutput> Pipeline::Forward(Context& ctx, const Encoding& encoding,
                                      const Tensor& rows) const {
  if (encoding.ids.empty())
    return InvalidArgument("the text is empty, and this tokenizer adds no special tokens");
  ModelInput input;
  SOTTO_ASSIGN_OR_RETURN(input.ids, Ids(ctx, encoding.ids));
  SOTTO_ASSIGN_OR_RETURN(input.token_type_ids, Ids(ctx, encoding.type_ids));
  input.rows = rows;
  ModelOutput output = model_->Forward(ctx, input);
  if (!ctx.ok()) return ctx.status();
  return output;
}

Result<Json> Pipeline::Classify(const Json& input, const Json& options) {
  SOTTO_RETURN_IF_ERROR(CheckOptions(options, task_, {"top_k", "function_to_apply", "truncation"}));
  const std::vector<std::string>& labels = model_->id2label();
  // Hugging Face's rule: the best label unless told; null asks for all of them, as a list.
  const bool all = options.has("top_k") && options["top_k"].is_null();
  SOTTO_ASSIGN_OR_RETURN(const int64_t top_k,
                         options.IntOr("top_k", all ? INT32_MAX : 1, 1, INT32_MAX));
  const bool listed = options.has("top_k");
  SOTTO_ASSIGN_OR_RETURN(const bool truncate, options.BoolOr("truncation", true));
  const std::string& problem = model_->config()["problem_type"].as_string();
  std::string function = labels.size() == 1 ? "sigmoid" : "softmax";
  if (problem == "multi_label_classification") function = "sigmoid";
  if (problem == "regression") function = "none";
  SOTTO_ASSIGN_OR_RETURN(function, options.StringOr("function_to_apply", function));
  if (function != "sigmoid" && function != "softmax" && function != "none") {
    return InvalidArgument("'function_to_apply' is one of softmax, sigmoid, none");
  }
  const auto one = [&](const Json& text) -> Result<Json> {
    SOTTO_ASSIGN_OR_RETURN(const Encoding encoding, EncodeText(text, truncate));
    Context ctx(&arena_, pool_.get());
    SOTTO_ASSIGN_OR_RETURN(const ModelOutput output, Forward(ctx, encoding));
    const std::span<const float> logits = output.logits.floats();
    std::vector<double> scores(logits.begin(), logits.end());
    if (function == "softmax") scores = SoftmaxOf(logits);
    if (function == "sigmoid") {
      for (double& s : scores) s = 1 / (1 + std::exp(-s));
    }
    std::vector<Json> out;
    for (const size_t i : Ranked(scores)) {
      if (static_cast<int64_t>(out.size()) == top_k) break;
      out.push_back(
          Json::Object({{"label", Json::String(labels[i])}, {"score", Json::Number(scores[i])}}));
    }
    return listed ? Json::Array(std::move(out)) : std::move(out.front());
  };
  SOTTO_ASSIGN_OR_RETURN(Json result, Each(input, one));
  // Hugging Face wraps the answer to a plain text in a list, and to a pair not.
  return input.is_string() && !listed ? Json::Array({std::move(result)}) : std::move(result);
}

Result<Json> Pipeline::FillMask(const Json& input, const Json& options) {
  SOTTO_RETURN_IF_ERROR(CheckOptions(options, task_, {"top_k", "targets"}));
  SOTTO_ASSIGN_OR_RETURN(const int64_t top_k, options.IntOr("top_k", 5, 1, 1000));
  std::vector<int32_t> targets;
  for (const Json& target : options["targets"].items()) {
    const auto id = tokenizer_->TokenToId(target.as_string());
    if (!id)
      return InvalidArgument(
          StrCat("the target '", target.as_string(), "' is not a token of this model"));
    targets.push_back(*id);
  }
  const auto mask = tokenizer_->mask_id();
  if (!mask) return InvalidArgument("this model's tokenizer has no mask token");
  const auto one = [&](const Json& text) -> Result<Json> {
    SOTTO_RETURN_IF_ERROR(CheckText(text, task_));
    // The mask token is written in the text, so special tokens are read here.
    SOTTO_ASSIGN_OR_RETURN(const Encoding encoding, tokenizer_->Encode(text.as_string()));
    std::vector<int64_t> holes;
    for (size_t i = 0; i < encoding.ids.size(); ++i) {
      if (encoding.ids[i] == *mask) holes.push_back(static_cast<int64_t>(i));
    }
    if (holes.empty())
      return InvalidArgument(StrCat("the text has no mask token: write ",
                                    tokenizer_->IdToToken(*mask), " where a word is missing"));
    Context ctx(&arena_, pool_.get());
    SOTTO_ASSIGN_OR_RETURN(const ModelOutput output, Forward(ctx, encoding));
    std::vector<Json> by_hole;
    for (const int64_t hole : holes) {
      const int64_t vocab = output.logits.dim(-1);
      std::vector<double> scores =
          SoftmaxOf({output.logits.f32() + hole * vocab, static_cast<size_t>(vocab)});
      std::vector<size_t> order;
      if (targets.empty()) {
        order = Ranked(scores);
      } else {
        order.assign(targets.begin(), targets.end());
        SortByScore(order, scores);
      }
      std::vector<Json> out;
      for (size_t i = 0; i < order.size() && static_cast<int64_t>(i) < top_k; ++i) {
        const int32_t id = static_cast<int32_t>(order[i]);
        std::vector<int32_t> filled = encoding.ids;
        filled[static_cast<size_t>(hole)] = id;
        out.push_back(Json::Object(
            {{"score", Json::Number(scores[order[i]])},
             {"token", Json::Int(id)},
             {"token_str", Json::String(tokenizer_->Decode(std::span(&id, 1), false))},
             {"sequence", Json::String(tokenizer_->Decode(filled, holes.size() == 1))}}));
      }
      by_hole.push_back(Json::Array(std::move(out)));
    }
    return by_hole.size() == 1 ? std::move(by_hole.front()) : Json::Array(std::move(by_hole));
  };
  return Each(input, one);
}

Result<Tensor> Pipeline::TokenVectors(Context& ctx, const Encoding& encoding) const {
  // A language model's logits are of no use here, and may be many: one row of them is enough.
  SOTTO_ASSIGN_OR_RETURN(const Tensor first, Tensor::Zeros({1}, DType::kI32));
  SOTTO_ASSIGN_OR_RETURN(const ModelOutput output, Forward(ctx, encoding, first));
  const Tensor& x = output.last_hidden_state;
  return x.Reshaped({x.dim(1), x.dim(2)});
}

Result<Features> Pipeline::Extract(std::string_view text, const Json& options) {
  SOTTO_ASSIGN_OR_RETURN(const bool sentence, options.BoolOr("sentence_embedding", false));
  if (sentence) return EmbedSentence(text, options);
  SOTTO_RETURN_IF_ERROR(CheckOptions(options, "feature-extraction without 'sentence_embedding'",
                                     {"sentence_embedding", "pooling", "normalize", "truncation"}));
  SOTTO_ASSIGN_OR_RETURN(const std::string pooling, options.StringOr("pooling", "none"));
  SOTTO_ASSIGN_OR_RETURN(const bool normalize, options.BoolOr("normalize", false));
  SOTTO_ASSIGN_OR_RETURN(const bool truncate, options.BoolOr("truncation", true));
  const std::optional<Pooling> mode = PoolingByName(pooling);
  if (pooling != "none" && !mode) {
    return InvalidArgument(
        "'pooling' is one of none, mean, cls, max, mean_sqrt_len, weightedmean, lasttoken");
  }
  SOTTO_ASSIGN_OR_RETURN(const Encoding encoding,
                         EncodeText(Json::String(std::string(text)), truncate));
  Context ctx(&arena_, pool_.get());
  SOTTO_ASSIGN_OR_RETURN(const Tensor x, TokenVectors(ctx, encoding));
  const int64_t tokens = x.dim(0), hidden = x.dim(1);
  Features out;
  if (mode) {
    out.dims = {1, hidden};
    AppendPooled(*mode, x, 0, out.data);
  } else {
    out.dims = {1, tokens, hidden};
    out.data.assign(x.floats().begin(), x.floats().end());
  }
  for (size_t row = 0; normalize && row < out.data.size(); row += static_cast<size_t>(hidden))
    ScaleToLength1({out.data.data() + row, static_cast<size_t>(hidden)});
  return out;
}

Result<Features> Pipeline::EmbedSentence(std::string_view text, const Json& options) {
  SOTTO_RETURN_IF_ERROR(CheckOptions(
      options, "feature-extraction with 'sentence_embedding'",
      {"sentence_embedding", "prompt", "prompt_name", "truncate_dim", "normalize", "truncation"}));
  if (!sentence_.ok()) return sentence_.status();
  SOTTO_ASSIGN_OR_RETURN(const bool normalize, options.BoolOr("normalize", false));
  SOTTO_ASSIGN_OR_RETURN(const bool truncate, options.BoolOr("truncation", true));
  SOTTO_ASSIGN_OR_RETURN(const int64_t dim, options.IntOr("truncate_dim", 0, 1, INT32_MAX));
  SOTTO_ASSIGN_OR_RETURN(std::string prompt, options.StringOr("prompt", ""));
  if (options["prompt"].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(prompt, sentence_->Prompt(options["prompt_name"]));
  }
  EncodeOptions encode{.parse_special = false};
  if (truncate) {
    int64_t most = sentence_->max_seq_length(), most_of_model = model_->max_positions();
    if (most == 0) most = tokenizer_->model_max_length();
    if (most == 0 || (most_of_model > 0 && most_of_model < most)) most = most_of_model;
    encode.max_length = static_cast<int>(most);
  }
  SOTTO_ASSIGN_OR_RETURN(const Encoding encoding,
                         tokenizer_->Encode(sentence_->Prepared(prompt, text), encode));
  int64_t prompt_tokens = 0;
  if (!prompt.empty() && !sentence_->include_prompt()) {
    SOTTO_ASSIGN_OR_RETURN(const Encoding alone,
                           tokenizer_->Encode(sentence_->Prepared(prompt, ""), encode));
    // The token that ends a text is not part of the prompt.
    const bool ended = !alone.ids.empty() && tokenizer_->IsSpecial(alone.ids.back());
    prompt_tokens = static_cast<int64_t>(alone.size()) - (ended ? 1 : 0);
  }
  Context ctx(&arena_, pool_.get());
  SOTTO_ASSIGN_OR_RETURN(const Tensor x, TokenVectors(ctx, encoding));
  Features out;
  SOTTO_ASSIGN_OR_RETURN(out.data, sentence_->Embed(ctx, x, prompt_tokens));
  if (dim > 0 && dim < static_cast<int64_t>(out.data.size()))
    out.data.resize(static_cast<size_t>(dim));
  if (normalize) ScaleToLength1(out.data);
  out.dims = {1, static_cast<int64_t>(out.data.size())};
  return out;
}

Result<Json> Pipeline::ExtractJson(const Json& input, const Json& options) {
  return Each(input, [&](const Json& text) -> Result<Json> {
    SOTTO_RETURN_IF_ERROR(CheckText(text, task_));
    SOTTO_ASSIGN_OR_RETURN(const Features features, Extract(text.as_string(), options));
    const size_t columns = static_cast<size_t>(features.dims.back());
    std::vector<Json> rows;
    for (size_t at = 0; at < features.data.size(); at += columns) {
      std::vector<Json> row;
      for (size_t c = 0; c < columns; ++c) row.push_back(Json::Number(features.data[at + c]));
      rows.push_back(Json::Array(std::move(row)));
    }
    return features.dims.size() == 3 ? Json::Array({Json::Array(std::move(rows))})
                                     : Json::Array(std::move(rows));
  });
}

Result<std::unique_ptr<Generation>> Pipeline::Generate(std::string_view text, const Json& options) {
  EncodeOptions encode{.parse_special = false};
  Json rest = options;
  std::string target;
  if (model_->is_encoder_decoder()) {
    SOTTO_ASSIGN_OR_RETURN(const bool truncate, options.BoolOr("truncation", false));
    if (truncate) encode.max_length = LongestText();
    SOTTO_ASSIGN_OR_RETURN(const std::string source, options.StringOr("src_lang", ""));
    if (!source.empty()) {
      SOTTO_ASSIGN_OR_RETURN(encode.language, tokenizer_->LanguageId(source));
    }
    SOTTO_ASSIGN_OR_RETURN(target, options.StringOr("tgt_lang", ""));
    for (const char* key : {"truncation", "src_lang", "tgt_lang"}) rest = Without(rest, key);
  }
  SOTTO_ASSIGN_OR_RETURN(
      GenerationOptions read,
      GenerationOptions::Read(rest, generation_config_, model_->config(), kDefaultNewTokens));
  if (!target.empty()) {
    if (!rest["forced_bos_token_id"].is_null())
      return InvalidArgument("'tgt_lang' and 'forced_bos_token_id' say the same; give one of them");
    SOTTO_ASSIGN_OR_RETURN(read.logits.forced_bos_token_id, tokenizer_->LanguageId(target));
  }
  SOTTO_ASSIGN_OR_RETURN(Encoding encoding, tokenizer_->Encode(text, encode));
  std::vector<std::string> copied;
  if (model_->copied_unknown() >= 0) {
    NumberUnknownWords(text, model_->copied_unknown(), static_cast<int32_t>(model_->vocab_size()),
                       /*learn=*/true, copied, encoding);
  }
  return Generation::Start(*model_, *tokenizer_, pool_.get(), std::move(encoding.ids),
                           std::move(read), std::move(copied));
}

Result<std::unique_ptr<Generation>> Pipeline::GenerateAfterTemplate(
    std::span<const std::string> pieces, const Json& options) {
  SOTTO_ASSIGN_OR_RETURN(
      GenerationOptions read,
      GenerationOptions::Read(options, generation_config_, model_->config(), kDefaultNewTokens));
  std::vector<int32_t> ids;
  for (const std::string& piece : pieces)
    SOTTO_RETURN_IF_ERROR(tokenizer_->EncodeIds(piece, /*parse_special=*/true, ids));
  return Generation::Start(*model_, *tokenizer_, pool_.get(), std::move(ids), std::move(read));
}

Json Pipeline::TokenJson(const Generation& generation, int32_t token, const TokenScore& score) {
  const auto one = [&](int32_t id, float logprob) {
    return std::vector<Json::Member>{
        {"token", Json::Int(id)},
        {"token_str", Json::String(std::string(generation.Spelled(id)))},
        {"logprob", Json::Number(logprob)}};
  };
  std::vector<Json::Member> out = one(token, score.logprob);
  std::vector<Json> top;
  for (const auto& [id, logprob] : score.top) top.push_back(Json::Object(one(id, logprob)));
  if (!top.empty()) out.emplace_back("top_logprobs", Json::Array(std::move(top)));
  return Json::Object(std::move(out));
}

Json Pipeline::GeneratedJson(const Generation& generation, std::string_view before) const {
  std::vector<Json> texts;
  for (const Generation::Output& output : generation.outputs()) {
    std::vector<Json::Member> text{{"generated_text", Json::String(StrCat(before, output.text))}};
    std::vector<Json> tokens;
    for (size_t i = 0; i < output.scores.size(); ++i)
      tokens.push_back(TokenJson(generation, output.ids[i], output.scores[i]));
    if (!tokens.empty()) text.emplace_back("tokens", Json::Array(std::move(tokens)));
    texts.push_back(Json::Object(std::move(text)));
  }
  return Json::Array(std::move(texts));
}

Result<Json> Pipeline::GenerateEach(const Json& input, const Json& options, bool with_prompt) {
  return Each(input, [&](const Json& prompt) -> Result<Json> {
    SOTTO_RETURN_IF_ERROR(CheckText(prompt, task_));
    SOTTO_ASSIGN_OR_RETURN(const std::unique_ptr<Generation> generation,
                           Generate(prompt.as_string(), options));
    while (!generation->done()) {
      if (const auto step = generation->Next(); !step.ok()) return step.status();
    }
    return GeneratedJson(*generation, with_prompt ? prompt.as_string() : "");
  });
}

Result<Json> Pipeline::GenerateText(const Json& input, const Json& options) {
  SOTTO_ASSIGN_OR_RETURN(const bool full, options.BoolOr("return_full_text", true));
  return GenerateEach(input, Without(options, "return_full_text"), full);
}

Result<Json> Pipeline::GenerateFromText(const Json& input, const Json& options) {
  SOTTO_ASSIGN_OR_RETURN(Json result, GenerateEach(input, options, /*with_prompt=*/false));
  // Hugging Face gives a flat list for a list where each text has one answer.
  if (!input.is_array()) return result;
  std::vector<Json> flat;
  for (const Json& texts : result.items()) {
    if (texts.items().size() != 1) return result;
    flat.push_back(texts.items().front());
  }
  return Json::Array(std::move(flat));
}

Result<TextInsides> Pipeline::Insides(const Json& input, const Json& options) {
  SOTTO_ASSIGN_OR_RETURN(const InsidesOptions read, InsidesOptions::Read(options));
  TextInsides out;
  SOTTO_ASSIGN_OR_RETURN(out.encoding, EncodeText(input, /*truncate=*/false));
  if (model_->is_encoder_decoder()) {
    SOTTO_ASSIGN_OR_RETURN(
        const GenerationOptions generation,
        GenerationOptions::Read({}, generation_config_, model_->config(), kDefaultNewTokens));
    const auto start = generation.decoder_start_token_id ? generation.decoder_start_token_id
                                                         : generation.bos_token_id;
    if (start) out.decoder_ids.push_back(*start);
    SOTTO_RETURN_IF_ERROR(tokenizer_->EncodeIds(input["decoder_text"].as_string(),
                                                /*parse_special=*/false, out.decoder_ids));
  }
  SOTTO_ASSIGN_OR_RETURN(ModelInput ids, SequenceInput(out.encoding.ids, out.decoder_ids));
  SOTTO_ASSIGN_OR_RETURN(
      ids.token_type_ids,
      Tensor::FromInts({1, static_cast<int64_t>(out.encoding.size())}, out.encoding.type_ids));
  SOTTO_ASSIGN_OR_RETURN(out.outputs, RunInsides(*model_, pool_.get(), ids, read));
  return out;
}

}  // namespace sotto
