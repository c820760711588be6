// A loaded model with its tokenizer, serving one of Hugging Face's tasks. Inputs, options and
// outputs have the shapes of its pipelines, as JSON: the command line prints what JavaScript
// returns.
#ifndef SOTTO_CORE_RUN_PIPELINE_H_
#define SOTTO_CORE_RUN_PIPELINE_H_

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/io/model_folder.h"
#include "core/models/model.h"
#include "core/run/generation.h"
#include "core/run/insides.h"
#include "core/run/model_tokenizer.h"
#include "core/run/sentence_modules.h"
#include "core/text/tokenizer.h"

namespace sotto {

// Row-major numbers with their extents, for results too large for JSON.
struct Features {
  std::vector<int64_t> dims;
  std::vector<float> data;
};

// A text as the model reads it, and what happens inside (see RunInsides).
struct TextInsides {
  Encoding encoding;
  std::vector<int32_t> decoder_ids;  // of an encoder-decoder
  NamedTensors outputs;
};

class Pipeline {
 public:
  struct Options {
    WeightFormat format = WeightFormat::kAsStored;
    int threads = 1;
    std::shared_ptr<ThreadPool>
        pool;  // shared with other pipelines; null: one of its own, of `threads`
  };

  // `task`: a name in TaskNames(), or empty to run the model without one.
  static Result<std::unique_ptr<Pipeline>> Load(std::string_view task, ModelFiles files,
                                                const Options& options);
  // The same of a model that has its weights (see ModelStream), and of TokenizerOf these files: of
  // the files only what else they hold is read.
  static Result<std::unique_ptr<Pipeline>> Load(std::string_view task, ModelFiles& files,
                                                std::unique_ptr<Model> model, Tokenizer tokenizer,
                                                const Options& options);

  // Runs the task to its end. Input: a text or a list of texts (for text-classification also
  // {"text", "text_pair"}). Unknown options are errors that name them.
  //   text-classification  {top_k, function_to_apply, truncation} -> [{label, score}]
  //   fill-mask            {top_k, targets}   -> [{score, token, token_str, sequence}]
  //   feature-extraction   {pooling: none|mean|cls|max|mean_sqrt_len|weightedmean|lasttoken,
  //                        normalize, truncation}; or with sentence_embedding the vector that the
  //                        model's modules.json makes, {prompt, prompt_name, truncate_dim,
  //                        normalize, truncation} -> nested lists of numbers
  //   text-generation      see GenerationOptions, and return_full_text -> [{generated_text}], with
  //                        output_logprobs also {tokens: [{token, token_str, logprob}]}
  //   text2text-generation the same of an encoder-decoder, with truncation (of the source to the
  //                        model's positions) in place of return_full_text, and of translators
  //                        src_lang and tgt_lang, codes of the tokenizer
  Result<Json> Run(const Json& input, const Json& options);
  // feature-extraction of one text as numbers: [1, tokens, hidden], or [1, hidden] when pooled.
  Result<Features> Extract(std::string_view text, const Json& options);
  // The generating tasks by steps; the pipeline outlives the generation.
  Result<std::unique_ptr<Generation>> Generate(std::string_view text, const Json& options);
  // The same after a rendered chat template: its special tokens count, and none is added around.
  // In several pieces, no token crosses from one to the next, so that what a user wrote can be kept
  // apart where it spells a special token.
  Result<std::unique_ptr<Generation>> GenerateAfterTemplate(std::span<const std::string> pieces,
                                                            const Json& options);
  // What a finished one made: [{generated_text}], each after `before`, with tokens where asked.
  Json GeneratedJson(const Generation& generation, std::string_view before) const;
  // {token, token_str, logprob, top_logprobs: [{token, token_str, logprob}]} of a token that it
  // made.
  static Json TokenJson(const Generation& generation, int32_t token, const TokenScore& score);
  // The insides of the model for one text ({"text", "text_pair"}; of an encoder-decoder also
  // {"text", "decoder_text"}: see RunInsides).
  Result<TextInsides> Insides(const Json& input, const Json& options);

  const Model& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::string_view task() const { return task_; }
  ThreadPool* pool() { return pool_.get(); }

 private:
  explicit Pipeline(std::shared_ptr<ThreadPool> pool) : pool_(std::move(pool)) {}
  // `rows`: where a language model computes logits; empty: everywhere.
  Result<ModelOutput> Forward(Context& ctx, const Encoding& encoding,
                              const Tensor& rows = {}) const;
  Result<Features> EmbedSentence(std::string_view text, const Json& options);
  // The vectors of a text's tokens, [tokens, hidden].
  Result<Tensor> TokenVectors(Context& ctx, const Encoding& encoding) const;
  // Tokens that a text is cut to: the model's positions, or what its tokenizer says of one that has
  // no end; 0: none.
  int LongestText() const;
  Result<Encoding> EncodeText(const Json& input, bool truncate) const;
  Result<Json> Classify(const Json& input, const Json& options);
  Result<Json> FillMask(const Json& input, const Json& options);
  Result<Json> ExtractJson(const Json& input, const Json& options);
  Result<Json> GenerateText(const Json& input, const Json& options);
  Result<Json> GenerateFromText(const Json& input, const Json& options);
  Result<Json> GenerateEach(const Json& input, const Json& options, bool with_prompt);
  struct Task;
  static const Task kTasks[];

  std::string task_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  Json generation_config_;
  Result<SentenceModules> sentence_ = NotFound("this pipeline embeds no sentences");
  Arena arena_;
  std::shared_ptr<ThreadPool> pool_;
};

// The tasks, and the aliases that Hugging Face has for them ("sentiment-analysis").
std::vector<std::string_view> TaskNames();

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_PIPELINE_H_
