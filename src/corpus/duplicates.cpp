#include "corpus/duplicates.h"

#include <algorithm>
#include <numeric>
#include <span>

#include "base/hash.h"

namespace bm {

namespace {

#pragma pack(push, 4)
struct Entry {
  uint64_t key;
  uint32_t article;
};
#pragma pack(pop)
static_assert(sizeof(Entry) == 12);

// Clusters as trees whose root is the smallest number in them.
class Forest {
 public:
  explicit Forest(uint32_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0u); }
  uint32_t root(uint32_t i) {
    while (parent_[i] != i) {
      parent_[i] = parent_[parent_[i]];
      i = parent_[i];
    }
    return i;
  }
  void join(uint32_t a, uint32_t b) {
    a = root(a);
    b = root(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<uint32_t> parent_;
};

// Joins the articles that have the same key in one column.
template <class KeyOf>
void join_equal(const KeyFiles& files, Forest& forest, std::vector<Entry>& entries, KeyOf key_of) {
  entries.clear();
  files.for_each([&](uint32_t article, const ArticleKeys& keys) {
    if (keys.contaminated) return;
    if (uint64_t key = key_of(article, keys)) entries.push_back({key, article});
  });
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.key != b.key ? a.key < b.key : a.article < b.article;
  });
  for (size_t i = 1; i < entries.size(); ++i)
    if (entries[i].key == entries[i - 1].key) forest.join(entries[i - 1].article, entries[i].article);
}

}  // namespace

ArticleKeys article_keys(std::string_view text, std::string_view id, uint64_t seed) {
  thread_local std::string plain;
  plain.resize(text.size());
  size_t size = 0;
  for (char c : text) {
    auto b = static_cast<unsigned char>(c);
    bool upper = b >= 'A' && b <= 'Z';
    bool taken = upper || (b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b >= 0x80;
    plain[size] = upper ? static_cast<char>(b | 0x20) : c;
    size += taken ? 1 : 0;
  }
  ArticleKeys keys;
  keys.text = std::max<uint64_t>(xxh64(std::string_view(plain).substr(0, size)), 1);
  keys.id = std::max<uint64_t>(hash64(id, 1), 1);
  keys.lot = hash64(id, seed ^ 0x686F6C646F7574ull);
  return keys;
}

std::span<const ArticleKeys> KeyFiles::rows(const MappedFile& file) {
  return {reinterpret_cast<const ArticleKeys*>(file.bytes().data()), file.size() / sizeof(ArticleKeys)};
}

Status KeyFiles::add(const std::string& path) {
  BM_TRY(MappedFile file, MappedFile::open(path));
  if (file.size() % sizeof(ArticleKeys) != 0)
    return failed("is cut off", "Remove the output folder's parts and run again.").in(path);
  auto count = static_cast<uint32_t>(file.size() / sizeof(ArticleKeys));
  files_.emplace_back(std::move(file), size_);
  size_ += count;
  return {};
}

ArticleKeys KeyFiles::at(uint32_t article) const {
  auto behind = std::upper_bound(files_.begin(), files_.end(), article,
                                 [](uint32_t value, const auto& entry) { return value < entry.second; });
  const auto& [file, first] = *(behind - 1);
  return rows(file)[article - first];
}

std::string duplicate_reason(const ArticleKeys& dropped, const ArticleKeys& kept) {
  if (dropped.text == kept.text) return "same text as ";
  if (dropped.id == kept.id) return "same id as ";
  int bands = 0;
  for (size_t i = 0; i < kMinHashBands; ++i)
    bands += dropped.bands[i] && dropped.bands[i] == kept.bands[i] ? 1 : 0;
  if (bands == 0) return "like an article that is like ";
  return "near-duplicate, " + std::to_string(bands) + " of " + std::to_string(kMinHashBands) +
         " bands in common, of ";
}

std::vector<uint32_t> find_duplicates(const KeyFiles& keys, const DuplicateRules& rules) {
  uint32_t size = keys.size();
  Forest forest(size);
  std::vector<Entry> entries;
  if (rules.exact) {
    join_equal(keys, forest, entries, [](uint32_t, const ArticleKeys& k) { return k.text; });
    join_equal(keys, forest, entries, [](uint32_t, const ArticleKeys& k) { return k.id; });
  }
  if (rules.near) {
    // Exact copies follow their first one; only first ones are compared further.
    std::vector<bool> first(size);
    for (uint32_t i = 0; i < size; ++i) first[i] = forest.root(i) == i;
    for (size_t band = 0; band < kMinHashBands; ++band)
      join_equal(keys, forest, entries,
                 [&](uint32_t i, const ArticleKeys& k) { return first[i] ? k.bands[band] : 0; });
  }
  std::vector<Entry>().swap(entries);
  std::vector<uint32_t> of(size);
  for (uint32_t i = 0; i < size; ++i) of[i] = forest.root(i);
  if (!rules.keep_longest) return of;
  // The longest of each cluster, the first of equals, takes the root's place.
  std::vector<uint32_t> longest(size), words(size);
  std::iota(longest.begin(), longest.end(), 0u);
  keys.for_each([&](uint32_t i, const ArticleKeys& k) { words[i] = k.words; });
  for (uint32_t i = 0; i < size; ++i)
    if (words[i] > words[longest[of[i]]]) longest[of[i]] = i;
  for (uint32_t i = 0; i < size; ++i) of[i] = longest[of[i]];
  return of;
}

}  // namespace bm
