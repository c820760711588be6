#include "core/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace sotto {
namespace {

Status ErrnoStatus(const std::string& path) {
  const int error = errno;
  std::string message = StrCat(path, ": ", std::strerror(error));
  return error == ENOENT ? NotFound(std::move(message)) : IoError(std::move(message));
}

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return OkStatus();
}

}  // namespace

Result<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  SOTTO_ASSIGN_OR_RETURN(const FileView view, FileView::Open(path));
  if (view.bytes().size() > max_bytes) {
    return InvalidFile(
        StrCat(path, " has ", view.bytes().size(), " bytes; at most ", max_bytes, " are read"));
  }
  return std::string(view.bytes());
}

Result<FileWriter> FileWriter::Open(const std::string& path) {
  FileWriter writer;
  writer.path_ = path;
  writer.part_ = path + ".part";
  writer.fd_ = ::open(writer.part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (writer.fd_ < 0) return ErrnoStatus(writer.part_);
  return writer;
}

FileWriter::FileWriter(FileWriter&& other) noexcept { *this = std::move(other); }
FileWriter& FileWriter::operator=(FileWriter&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(part_, other.part_);
  std::swap(fd_, other.fd_);
  return *this;
}
FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(part_.c_str());
}

Status FileWriter::Append(std::string_view bytes) { return WriteAll(fd_, bytes, part_); }

Status FileWriter::Commit() {
  Status status = ::fsync(fd_) == 0 ? OkStatus() : ErrnoStatus(part_);
  if (::close(fd_) != 0 && status.ok()) status = ErrnoStatus(part_);
  fd_ = -1;
  if (status.ok() && std::rename(part_.c_str(), path_.c_str()) != 0) status = ErrnoStatus(path_);
  if (!status.ok()) ::unlink(part_.c_str());
  return status;
}

Status WriteFile(const std::string& path, std::string_view bytes) {
  SOTTO_ASSIGN_OR_RETURN(FileWriter writer, FileWriter::Open(path));
  SOTTO_RETURN_IF_ERROR(writer.Append(bytes));
  return writer.Commit();
}

Status AppendFile(const std::string& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(path);
  Status status = WriteAll(fd, bytes, path);
  ::close(fd);
  return status;
}

Status MakeFolder(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return ErrnoStatus(part);
    if (end == std::string::npos) return OkStatus();
  }
}

bool FileExists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

void ForgetMapped(std::string_view bytes) {
#if !defined(__EMSCRIPTEN__)
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = (at + page - 1) / page * page, end = (at + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
#endif
}

Result<FileView> FileView::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(path);
  struct stat info;
  if (::fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    const Status status =
        S_ISDIR(info.st_mode) ? IoError(path + " is a folder") : ErrnoStatus(path);
    ::close(fd);
    return status;
  }
  FileView view;
  view.size_ = static_cast<size_t>(info.st_size);
  if (view.size_ > 0) {
    void* data = ::mmap(nullptr, view.size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      const Status status = ErrnoStatus(path);
      ::close(fd);
      return status;
    }
    view.data_ = static_cast<const char*>(data);
    view.mapped_ = true;
  }
  ::close(fd);
  return view;
}

FileView::FileView(FileView&& other) noexcept { *this = std::move(other); }
FileView& FileView::operator=(FileView&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}
FileView::~FileView() {
  if (mapped_) ::munmap(const_cast<char*>(data_), size_);
}

}  // namespace sotto
