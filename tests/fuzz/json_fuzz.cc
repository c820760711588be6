// JSON: whatever is accepted must be written as text that is read back to the same text.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/json.h"
#include "core/base/utf8.h"

namespace {

// Walks the whole tree through the public face; the count keeps the walk from being optimized away.
size_t Visit(const sotto::Json& value) {
  size_t count = 1 + value.as_string().size();
  if (!sotto::IsValidUtf8(value.as_string())) __builtin_trap();
  if (value.is_int() && value.as_number() != static_cast<double>(value.as_int())) __builtin_trap();
  for (const sotto::Json& item : value.items()) count += Visit(item);
  for (const auto& [key, item] : value.members()) {
    if (&value[key] != &item || !value.has(key)) __builtin_trap();
    count += Visit(item);
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const sotto::Result<sotto::Json> json = sotto::Json::Parse(text);
  if (!json.ok()) {
    if (json.status().message().empty()) __builtin_trap();
    return 0;
  }
  if (Visit(*json) == 0) __builtin_trap();
  for (const int indent : {0, 2}) {
    const std::string once = json->Dump(indent);
    const sotto::Result<sotto::Json> again = sotto::Json::Parse(once);
    if (!again.ok() || again->Dump(indent) != once) __builtin_trap();
  }
  return 0;
}
