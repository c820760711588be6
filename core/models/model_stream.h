// A model from files that arrive in pieces, in the order of the network: config.json first, then
// the weights of a folder, each file once; or a GGUF file, which has its texts within. Weights go
// straight to where the model keeps them (see WeightStream), so that no more is held beside them
// than a header and one row. For files that are at hand see OpenModelFiles.
#ifndef SOTTO_CORE_MODELS_MODEL_STREAM_H_
#define SOTTO_CORE_MODELS_MODEL_STREAM_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/gguf_model.h"
#include "core/io/model_folder.h"
#include "core/models/model.h"
#include "core/models/weight_stream.h"

namespace sotto {

class ModelStream {
 public:
  explicit ModelStream(const LoadOptions& options) : options_(options) {}

  // Of a folder the caller puts its texts here, config.json before the first weights; of a GGUF
  // file they are here once it has ended.
  ModelFiles& files() { return files_; }

  // A file of so many bytes begins, or begins anew where it did not end.
  Status Begin(std::string_view name, uint64_t bytes);
  Status Append(std::string_view bytes);
  Status End();

  // Of a GGUF model in several files, once the first's header is there: the names of all, in the
  // order in which they are to come. Otherwise empty.
  const std::vector<std::string>& parts() const { return parts_; }
  // Whose header is needed next, before more of the first file can be taken in; empty: nobody's.
  // (Append keeps what comes meanwhile.)
  std::string wanted_header() const;
  // More of the first bytes of the file of wanted_header(). True: its header is there.
  Result<bool> AddHeader(std::string_view bytes, uint64_t file_bytes);

  // After the last file. `index`: model.safetensors.index.json, where there is one.
  Result<std::unique_ptr<Model>> Finish(std::string_view index = {});

 private:
  Status CreateFrom(std::string_view config);
  Status TakeSafetensorsHeader();
  Status TakeGgufHeader();
  Status DescribeWhole();
  Status Feed(std::vector<TensorInfo> tensors);
  size_t PartOfThis() const;

  LoadOptions options_;
  ModelFiles files_;
  std::unique_ptr<Model> model_;
  std::optional<WeightStream> weights_;
  std::map<std::string, std::string, std::less<>> file_of_;  // by tensor, of those that came

  // The file that is coming.
  std::string name_;
  uint64_t bytes_ = 0, came_ = 0;
  bool feeding_ = false;   // its header was read
  std::string held_;       // its first bytes until then
  uint64_t next_try_ = 0;  // how many of them the next try to read it wants
  size_t ended_ = 0;       // files that are whole

  // Of GGUF.
  GgufParts headers_;
  std::vector<std::string> parts_;
  std::vector<std::string> first_bytes_;          // of the parts after the first: with the header
  std::vector<std::vector<TensorInfo>> tensors_;  // by part, once described
};

}  // namespace sotto

#endif  // SOTTO_CORE_MODELS_MODEL_STREAM_H_
