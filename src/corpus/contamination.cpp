#include "corpus/contamination.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "tasks/catalog.h"

namespace bm {

namespace {

// English (else what there is) unless languages are named; those a task does not have are left out.
std::vector<std::string> wanted_languages(const CorpusOptions& options,
                                          const std::vector<std::string>& exist) {
  std::vector<std::string> wanted;
  for (const std::string& language : options.benchmark_languages) {
    std::string code = language_code(language);
    if (std::find(exist.begin(), exist.end(), code) != exist.end()) wanted.push_back(code);
  }
  if (options.benchmark_languages.empty() && !exist.empty())
    wanted = {std::find(exist.begin(), exist.end(), "en") != exist.end() ? "en" : exist.front()};
  return wanted;
}

Result<std::vector<Task>> tasks_of(const CorpusOptions& options) {
  std::vector<Task> tasks;
  TaskLoadOptions load;
  load.data = options.benchmark_data;
  load.need_pool = false;
  std::vector<std::string> names;
  for (const std::string& name : options.decontaminate) {
    if (name != "all") {
      names.push_back(name);
      continue;
    }
    BM_TRY(std::vector<Task> available, load_available_tasks(options.benchmark_data));
    if (available.empty())
      return bad_input("no benchmark's files are there", "Give --benchmark-data their folder (docs/data.md).")
          .in(options.benchmark_data);
    for (Task& task : available) tasks.push_back(std::move(task));
  }
  BM_TRY(std::vector<std::string> expanded, expand_task_names(names));
  for (const std::string& name : expanded) {
    if (ends_with(name, ".jsonl") || ends_with(name, ".json")) {
      BM_TRY(std::vector<Task> own, load_items_tasks({name}, load));
      for (Task& task : own) tasks.push_back(std::move(task));
      continue;
    }
    if (ends_with(name, ".yaml") || ends_with(name, ".yml")) {
      BM_TRY(Task task, load_task_file(name, load));
      tasks.push_back(std::move(task));
      continue;
    }
    std::vector<std::string> exist = task_languages(name);
    for (const std::string& language : wanted_languages(options, exist)) {
      BM_TRY(Task task, load_task(name, language, load));
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

}  // namespace

Result<BenchmarkIndex> BenchmarkIndex::load(const CorpusOptions& options) {
  BenchmarkIndex index(options.decontamination_words);
  if (options.decontaminate.empty()) return index;
  BM_TRY(std::vector<Task> tasks, tasks_of(options));
  for (const Task& task : tasks) {
    for (const std::string& file : task.files)
      if (std::find(index.files_.begin(), index.files_.end(), file) == index.files_.end())
        index.files_.push_back(file);
    for (const Item& item : task.items) {
      std::vector<std::string_view> texts = {item.context, item.question};
      for (const Option& option : item.options) texts.emplace_back(option.text);
      for (const std::string& answer : item.true_answers) texts.emplace_back(answer);
      for (const std::string& answer : item.false_answers) texts.emplace_back(answer);
      index.add({task.name, item.identifier, item.language, 0}, texts);
    }
  }
  if (index.items_.empty())
    return bad_input("none of the benchmarks to look for has items in the languages asked",
                     "docs/data.md says what each language has.");
  index.finish();
  return index;
}

template <class Function>
void BenchmarkIndex::for_each_run(const PlainWords& words, Function function) const {
  size_t numbers = 0;
  for (size_t end = 0; end < words.count(); ++end) {
    numbers += words.is_number(end) ? 1 : 0;
    if (end + 1 < run_words_) continue;
    size_t first = end + 1 - run_words_;
    if (numbers * 3 <= run_words_) function(first, xxh64(words.run(first, run_words_)));
    numbers -= words.is_number(first) ? 1 : 0;
  }
}

void BenchmarkIndex::add(ItemName name, const std::vector<std::string_view>& texts) {
  auto item = static_cast<uint32_t>(items_.size());
  PlainWords words;
  std::unordered_set<uint64_t> own;
  for (std::string_view text : texts) {
    plain_words(text, words);
    for_each_run(words, [&](size_t, uint64_t hash) { own.insert(hash); });
  }
  for (uint64_t hash : own) postings_.push_back({hash, item});
  name.runs = static_cast<uint32_t>(own.size());
  items_.push_back(std::move(name));
}

void BenchmarkIndex::finish() {
  std::sort(postings_.begin(), postings_.end());
  auto wanted = static_cast<unsigned>(std::bit_width(postings_.size() | 1));
  unsigned bucket_bits = std::clamp(wanted, 4u, 24u), bit_bits = std::clamp(wanted + 4, 10u, 26u);
  bucket_shift_ = 64 - bucket_bits;
  bit_shift_ = 64 - bit_bits;
  bits_.assign(size_t{1} << (bit_bits - 6), 0);
  buckets_.assign((size_t{1} << bucket_bits) + 1, 0);
  for (const Posting& posting : postings_) {
    uint64_t bit = posting.hash >> bit_shift_;
    bits_[bit >> 6] |= uint64_t{1} << (bit & 63);
    ++buckets_[(posting.hash >> bucket_shift_) + 1];
  }
  for (size_t i = 1; i < buckets_.size(); ++i) buckets_[i] += buckets_[i - 1];
}

std::vector<ItemMatch> BenchmarkIndex::find(const PlainWords& words) const {
  std::vector<ItemMatch> matches;
  if (postings_.empty()) return matches;
  std::unordered_map<uint32_t, size_t> where;
  std::unordered_set<uint64_t> seen;
  for_each_run(words, [&](size_t i, uint64_t hash) {
    uint64_t bit = hash >> bit_shift_;
    if (!((bits_[bit >> 6] >> (bit & 63)) & 1)) return;
    uint64_t bucket = hash >> bucket_shift_;
    bool fresh = true;
    for (uint32_t p = buckets_[bucket]; p < buckets_[bucket + 1]; ++p) {
      if (postings_[p].hash != hash) continue;
      if (fresh && !seen.insert(hash).second) break;  // the same run again
      fresh = false;
      auto [entry, is_new] = where.emplace(postings_[p].item, matches.size());
      if (is_new)
        matches.push_back(
            {postings_[p].item, 0, items_[postings_[p].item].runs, std::string(words.run(i, run_words_))});
      ++matches[entry->second].shared;
    }
  });
  std::sort(matches.begin(), matches.end(), [](const ItemMatch& a, const ItemMatch& b) {
    return a.shared != b.shared ? a.shared > b.shared : a.item < b.item;
  });
  return matches;
}

}  // namespace bm
