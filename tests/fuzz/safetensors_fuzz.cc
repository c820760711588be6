// Safetensors: what is accepted must lie inside the file, be readable to the last byte, and be
// written and read back with the same tensors. The input is tried as a whole file, as a header to
// which the right length and as much data as its last two bytes say are added, and as the index of
// shards.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/io/checkpoint.h"
#include "core/io/safetensors.h"
#include "core/io/tensor_source.h"

namespace {

using sotto::Result;
using sotto::Tensor;

unsigned Sum(const Tensor& tensor) {
  unsigned sum = 0;
  const auto* bytes = static_cast<const uint8_t*>(tensor.data());
  for (size_t i = 0; i < tensor.bytes(); ++i) sum += bytes[i];
  return sum;
}

void ReadEverything(std::string_view file) {
  const auto header = sotto::SafetensorsHeader::Parse(file, file.size());
  sotto::TensorSource source;
  const sotto::Status added = source.AddSafetensors(file, nullptr);
  if (header.ok() != added.ok()) __builtin_trap();
  if (!header.ok()) return;
  sotto::NamedTensors tensors;
  for (const sotto::TensorInfo& info : header->tensors()) {
    if (info.begin > info.end || info.end > file.size()) __builtin_trap();
    if (header->Find(info.name) != &info) __builtin_trap();
    const Result<Tensor> tensor = source.Take(info.name, info.shape);
    if (!tensor.ok() || tensor->bytes() != info.end - info.begin) __builtin_trap();
    volatile unsigned sum = Sum(*tensor);
    (void)sum;
    (void)source.TakeF32(info.name).ok();
    tensors.emplace_back(info.name, *tensor);
  }
  const Result<std::string> written = sotto::WriteSafetensors(tensors, header->metadata());
  if (!written.ok()) __builtin_trap();
  const auto again = sotto::SafetensorsHeader::Parse(*written, written->size());
  if (!again.ok() || again->tensors().size() != tensors.size()) __builtin_trap();
  for (const auto& [name, tensor] : tensors) {
    const sotto::TensorInfo* info = again->Find(name);
    if (info == nullptr || !(info->shape == tensor.shape()) || info->dtype != tensor.dtype() ||
        (tensor.bytes() > 0 &&
         std::memcmp(written->data() + info->begin, tensor.data(), tensor.bytes()) != 0)) {
      __builtin_trap();
    }
  }
  (void)sotto::ParseCheckpoint(file).ok();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  (void)sotto::RecognizeForeignFile(input);
  (void)sotto::ParseShardIndex(input).ok();
  ReadEverything(input);
  if (size < 2) return 0;
  const size_t data_bytes = data[size - 2] + 256u * (data[size - 1] & 15);
  const std::string_view header = input.substr(0, size - 2);
  std::string framed;
  for (int i = 0; i < 8; ++i) {
    framed.push_back(static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i)));
  }
  framed.append(header).append(data_bytes, '\x7F');
  ReadEverything(framed);
  return 0;
}
