// What sentence-transformers puts behind a model (Reimers & Gurevych 2019): modules.json lists how
// token vectors become the vector of a sentence. Also how tokens are pooled where nobody lists
// anything. A module or setting that is not known is an error that names it.
#ifndef SOTTO_CORE_RUN_SENTENCE_MODULES_H_
#define SOTTO_CORE_RUN_SENTENCE_MODULES_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/json.h"
#include "core/io/model_folder.h"
#include "core/ops/ops.h"

namespace sotto {

// sentence-transformers' modes. Of tokens x_1..x_n:
enum class Pooling : uint8_t {
  kCls,           // x_1
  kMax,           // the largest value of each column
  kMean,          // sum / n
  kMeanSqrtLen,   // sum / sqrt(n)
  kWeightedMean,  // sum of i x_i / sum of i
  kLastToken,     // x_n
};
// "cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken".
std::optional<Pooling> PoolingByName(std::string_view name);
// Appends the pooled columns of tokens [n, columns], n > 0. All but cls and lasttoken leave the
// first `skipped` tokens out (weights count from the very first).
void AppendPooled(Pooling mode, const Tensor& tokens, int64_t skipped, std::vector<float>& out);

// Divides by the Euclidean length, as PyTorch's normalize does it.
void ScaleToLength1(std::span<float> vector);

class SentenceModules {
 public:
  // `width`: of the token vectors.
  static Result<SentenceModules> Read(ModelFiles& files, int64_t width);

  // The text as the model reads it: after its prompt, without blanks around, in lower case where
  // the model wants that.
  std::string Prepared(std::string_view prompt, std::string_view text) const;
  // What goes before a text: that of the name, or the default one; an unknown name is an error that
  // lists those that there are.
  Result<std::string> Prompt(const Json& name) const;
  // Whether the prompt's tokens count in the pooling.
  bool include_prompt() const { return include_prompt_; }
  // Tokens that are read; 0: as many as the model can.
  int64_t max_seq_length() const { return max_seq_length_; }

  // token vectors [n, width] -> the vector of the sentence.
  Result<std::vector<float>> Embed(Context& ctx, const Tensor& tokens, int64_t prompt_tokens) const;

 private:
  struct Module {
    enum Kind : uint8_t { kDense, kLayerNorm, kNormalize } kind;
    Tensor weight, bias;
    Activation activation;  // of kDense, where `activates`
    bool activates = false;
  };
  Status ReadSettings(const ModelFiles& files);
  Status ReadPooling(const Json& config, int64_t& width);
  Status ReadDense(const Json& config, TensorSource& tensors, int64_t& width);
  Status ReadLayerNorm(const Json& config, TensorSource& tensors, int64_t width);

  std::vector<Pooling> pooling_;
  bool include_prompt_ = true, lower_case_ = false;
  int64_t max_seq_length_ = 0;
  std::vector<Module> modules_;  // after the pooling
  std::vector<std::pair<std::string, std::string>> prompts_;
  std::string default_prompt_;
};

}  // namespace sotto

#endif  // SOTTO_CORE_RUN_SENTENCE_MODULES_H_
