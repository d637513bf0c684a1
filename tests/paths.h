// Where tests find their data: copies inside the project always, ../shared when it is there.
#pragma once

#include <filesystem>
#include <string>

namespace bm::testing {

inline std::string source_path(const std::string& name) { return std::string(BIOMISTRAL_SOURCE_DIR) + "/" + name; }
inline std::string shared_path(const std::string& name) { return std::string(BIOMISTRAL_SHARED_DIR) + "/" + name; }
inline bool have_shared() { return std::filesystem::exists(shared_path("golden")); }

// A fresh folder below the system's temporary folder, removed at the end of the scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "biomistral-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace bm::testing
