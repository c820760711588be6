#include "core/models/model_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace sotto {
namespace {

constexpr uint64_t kFirstTry = 64 << 10;

}  // namespace

Status ModelStream::Begin(std::string_view name, uint64_t bytes) {
  name_ = name;
  bytes_ = bytes;
  came_ = 0;
  feeding_ = false;
  held_.clear();
  next_try_ = 0;
  if (name.ends_with(".gguf")) {
    if (ended_ > 0 && (parts_.size() <= ended_ || parts_[ended_] != name))
      return InvalidArgument(StrCat(name, " is not the model's next file"));
    if (ended_ == 0) {  // what it said before may have been wrong
      headers_ = {};
      parts_.clear();
      first_bytes_.clear();
      tensors_.clear();
      weights_.reset();
      model_.reset();
    }
    return OkStatus();
  }
  std::erase_if(file_of_, [&](const auto& tensor) { return tensor.second == name; });
  return model_ == nullptr ? CreateFrom(files_.config) : OkStatus();
}

Status ModelStream::CreateFrom(std::string_view config) {
  if (config.empty()) return NotFound("there is no config.json, so this is not a model");
  const Result<Json> json = Json::Parse(config);
  if (!json.ok()) return json.status().In("config.json");
  SOTTO_ASSIGN_OR_RETURN(model_, CreateModel(*json));
  weights_.emplace(model_.get(), options_);
  return OkStatus();
}

Status ModelStream::Append(std::string_view bytes) {
  came_ += bytes.size();
  if (came_ > bytes_)
    return InvalidFile(StrCat("more bytes came than the ", bytes_, " of the file")).In(name_);
  if (feeding_) return weights_->Append(bytes).In(name_);
  held_.append(bytes);
  if (held_.size() < next_try_ && came_ < bytes_) return OkStatus();
  const bool gguf = name_.ends_with(".gguf");
  return (gguf ? TakeGgufHeader() : TakeSafetensorsHeader()).In(name_);
}

Status ModelStream::TakeSafetensorsHeader() {
  constexpr uint64_t kLengthBytes = 8;
  if (held_.size() < kLengthBytes && came_ < bytes_) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(next_try_, SafetensorsHeader::HeaderBytes(held_, bytes_));
  if (held_.size() < next_try_) return OkStatus();
  SOTTO_ASSIGN_OR_RETURN(const SafetensorsHeader header, SafetensorsHeader::Parse(held_, bytes_));
  for (const TensorInfo& tensor : header.tensors()) {
    const auto [at, added] = file_of_.emplace(tensor.name, name_);
    if (!added)
      return InvalidFile(
          StrCat("tensor '", tensor.name, "' is there twice, first in ", at->second));
  }
  return Feed({header.tensors().begin(), header.tensors().end()});
}

size_t ModelStream::PartOfThis() const { return parts_.empty() ? 0 : ended_; }

Status ModelStream::TakeGgufHeader() {
  const size_t part = PartOfThis();
  if (part > 0) {  // whose header was there before
    const std::string& expected = first_bytes_[part];
    next_try_ = expected.size();
    if (held_.size() < next_try_) return OkStatus();
    if (!std::string_view(held_).starts_with(expected))
      return InvalidFile("its header has changed meanwhile");
    return Feed(tensors_[part]);
  }
  if (headers_.count() == 0) {
    next_try_ = std::max(kFirstTry, 2 * static_cast<uint64_t>(held_.size()));
    SOTTO_ASSIGN_OR_RETURN(std::optional<GgufHeader> header, GgufHeader::Parse(held_, bytes_));
    if (!header) return OkStatus();
    SOTTO_RETURN_IF_ERROR(headers_.Add(*std::move(header)));
    if (headers_.wanted() > 1) {
      SOTTO_ASSIGN_OR_RETURN(parts_, GgufSplitNames(name_, headers_.wanted()));
      if (parts_.front() != name_)
        return InvalidArgument(StrCat("of several files the first is needed, ", parts_.front()));
    }
    first_bytes_.emplace_back();
  }
  return DescribeWhole();
}

std::string ModelStream::wanted_header() const {
  const int count = headers_.count();
  return count > 0 && count < headers_.wanted() ? parts_[static_cast<size_t>(count)] : "";
}

Result<bool> ModelStream::AddHeader(std::string_view bytes, uint64_t file_bytes) {
  const std::string name = wanted_header();
  if (name.empty()) return Internal("no header is wanted");
  if (static_cast<int>(first_bytes_.size()) == headers_.count()) first_bytes_.emplace_back();
  std::string& held = first_bytes_.back();
  held.append(bytes);
  Result<std::optional<GgufHeader>> header = GgufHeader::Parse(held, file_bytes);
  if (!header.ok()) return header.status().In(name);
  if (!*header) return false;
  SOTTO_RETURN_IF_ERROR(headers_.Add(**std::move(header)).In(name));
  if (wanted_header().empty()) SOTTO_RETURN_IF_ERROR(DescribeWhole());
  return true;
}

// Once all headers are there: the model, and where each tensor goes.
Status ModelStream::DescribeWhole() {
  if (headers_.count() < headers_.wanted()) return OkStatus();
  SOTTO_RETURN_IF_ERROR(headers_.Check());
  std::vector<TensorInfo> tensors = headers_.tensors();
  const GgufPeek peek = [&](const TensorInfo& tensor) -> std::optional<std::string_view> {
    if (tensor.file != 0 || tensor.end > held_.size()) return std::nullopt;
    return std::string_view(held_).substr(tensor.begin, tensor.end - tensor.begin);
  };
  SOTTO_ASSIGN_OR_RETURN(const bool whole,
                         DescribeGguf(headers_.metadata(), tensors, peek, files_));
  if (!whole) {
    next_try_ = 2 * static_cast<uint64_t>(held_.size());
    if (came_ < bytes_) return OkStatus();
    return Unsupported("factors of rotary positions in another file than the first");
  }
  tensors_.resize(static_cast<size_t>(headers_.wanted()));
  for (TensorInfo& tensor : tensors) tensors_[tensor.file].push_back(std::move(tensor));
  headers_.ForgetMetadata();
  SOTTO_RETURN_IF_ERROR(CreateFrom(files_.config));
  return Feed(tensors_[0]);
}

Status ModelStream::Feed(std::vector<TensorInfo> tensors) {
  SOTTO_RETURN_IF_ERROR(weights_->Begin(std::move(tensors)));
  feeding_ = true;
  const std::string held = std::exchange(held_, {});
  return weights_->Append(held);
}

Status ModelStream::End() {
  if (came_ < bytes_) return InvalidFile(StrCat(came_, " of ", bytes_, " bytes came")).In(name_);
  if (!feeding_) {
    const std::string wanted = wanted_header();
    return wanted.empty() ? InvalidFile("the file ends within its header").In(name_)
                          : InvalidArgument(StrCat("the header of ", wanted, " is needed"));
  }
  SOTTO_RETURN_IF_ERROR(weights_->End().In(name_));
  ++ended_;
  return OkStatus();
}

Result<std::unique_ptr<Model>> ModelStream::Finish(std::string_view index) {
  if (model_ == nullptr || ended_ < parts_.size()) return InvalidArgument("a file is missing");
  if (!index.empty()) {
    SOTTO_ASSIGN_OR_RETURN(const ShardIndex parsed, ParseShardIndex(index));
    SOTTO_RETURN_IF_ERROR(CheckShards(parsed, file_of_));
  }
  SOTTO_RETURN_IF_ERROR(weights_->Finish());
  weights_.reset();
  return std::move(model_);
}

}  // namespace sotto
