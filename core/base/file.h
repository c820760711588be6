// Whole files of the native system: read, and written so that a crash leaves the old or the new
// one.
#ifndef SOTTO_CORE_BASE_FILE_H_
#define SOTTO_CORE_BASE_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/status.h"

namespace sotto {

Result<std::string> ReadFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 40);
// Writes beside the target, flushes, and renames over it.
Status WriteFile(const std::string& path, std::string_view bytes);
// The same in pieces: the file appears under its name at Commit; without it nothing remains.
class FileWriter {
 public:
  static Result<FileWriter> Open(const std::string& path);
  FileWriter(FileWriter&& other) noexcept;
  FileWriter& operator=(FileWriter&& other) noexcept;
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  ~FileWriter();
  Status Append(std::string_view bytes);
  Status Commit();

 private:
  FileWriter() = default;
  std::string path_, part_;
  int fd_ = -1;
};
Status AppendFile(const std::string& path, std::string_view bytes);
Status MakeFolder(const std::string& path);  // with its parents; an existing one is no error
bool FileExists(const std::string& path);

// Of a part of a mapped file that will not be read again: its pages need not stay in memory.
void ForgetMapped(std::string_view bytes);

// A read-only view of a file, mapped into memory where the system can.
class FileView {
 public:
  static Result<FileView> Open(const std::string& path);
  FileView(FileView&& other) noexcept;
  FileView& operator=(FileView&& other) noexcept;
  FileView(const FileView&) = delete;
  FileView& operator=(const FileView&) = delete;
  ~FileView();
  std::string_view bytes() const { return {data_, size_}; }

 private:
  FileView() = default;
  const char* data_ = nullptr;
  size_t size_ = 0;
  bool mapped_ = false;
};

}  // namespace sotto

#endif  // SOTTO_CORE_BASE_FILE_H_
