// The corpus stage in parts, on the articles given: rates in MB/s of XML (or of text), and ratios to what
// nobody can avoid (inflating the archive).
//
//   bench_corpus --make=DIR --bytes=2000000000 ARCHIVE...   archives of changed copies (words by seed)
//   bench_corpus --tokenizer=FILE ARCHIVE...                the parts, one thread, processor time
//   bench_corpus --near=100000                              near-duplicates among made articles
#include <isa-l/igzip_lib.h>
#include <libdeflate.h>

#include <cstring>
#include <memory>
#include <unordered_map>

#include "base/file.h"
#include "base/random.h"
#include "corpus/article.h"
#include "corpus/inputs.h"
#include "corpus/pieces.h"
#include "corpus/xml.h"
#include "measure.h"

using namespace bm;

namespace {

std::string text_argument(int argc, char** argv, const std::string& name) {
  const std::string prefix = "--" + name + "=";
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).rfind(prefix, 0) == 0) return argv[i] + prefix.size();
  return "";
}

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "bench_corpus: %s\n", why.c_str());
  std::exit(1);
}

std::vector<RawArticle> read_articles(const std::string& archive) {
  auto plan = plan_inputs({archive});
  if (!plan.ok()) stop(plan.error().paragraph());
  std::vector<RawArticle> all;
  for (const InputPart& part : *plan) {
    PartReader reader(part, 1u << 30);
    while (reader.next(all, 1u << 30, 1u << 20)) {
    }
  }
  std::erase_if(all, [](const RawArticle& a) { return !a.is_article || !a.problem.empty(); });
  return all;
}

// ---- changed copies ----

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Every third word of running text becomes another word of the collection; ids get the copy's number.
std::string changed_copy(const std::string& xml, const std::vector<std::string>& words, uint64_t seed,
                         int copy) {
  CounterRandom random(seed, static_cast<uint64_t>(copy));
  std::string out;
  out.reserve(xml.size() + 64);
  uint64_t draw = 0;
  bool id = false;
  for (size_t i = 0; i < xml.size();) {
    if (xml[i] == '<') {
      size_t end = xml.compare(i, 4, "<!--") == 0 ? xml.find("-->", i) : xml.find('>', i);
      end = end == std::string::npos ? xml.size() : end + 1;
      if (id && xml.compare(i, 12, "</article-id") == 0) out += std::to_string(100 + copy);
      id = xml.compare(i, 11, "<article-id") == 0;
      out.append(xml, i, end - i);
      i = end;
    } else if (is_ascii_letter(xml[i]) && (i == 0 || xml[i - 1] == ' ') && !id) {
      size_t end = i;
      while (end < xml.size() && is_ascii_letter(xml[end])) ++end;
      bool whole = end < xml.size() && xml[end] == ' ' && end - i > 2;
      if (whole && random.below(draw++, 3) == 0)
        out += words[random.below(draw++, words.size())];
      else
        out.append(xml, i, end - i);
      i = end;
    } else {
      out += xml[i++];
    }
  }
  return out;
}

void append_tar(std::string& tar, const std::string& name, const std::string& content) {
  char header[512] = {};
  std::snprintf(header, 100, "%s", name.c_str());
  std::snprintf(header + 100, 8, "%07o", 0644);
  std::snprintf(header + 124, 12, "%011zo", content.size());
  std::snprintf(header + 136, 12, "%011o", 0);
  std::memcpy(header + 148, "        ", 8);
  header[156] = '0';
  std::memcpy(header + 257, "ustar\00000", 8);
  unsigned sum = 0;
  for (char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(header + 148, 8, "%06o", sum);
  tar.append(header, 512);
  tar += content;
  tar.append((512 - content.size() % 512) % 512, '\0');
}

void write_gzip(const std::string& path, const std::string& bytes) {
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(6);
  std::string out(libdeflate_gzip_compress_bound(compressor, bytes.size()), '\0');
  out.resize(libdeflate_gzip_compress(compressor, bytes.data(), bytes.size(), out.data(), out.size()));
  libdeflate_free_compressor(compressor);
  if (!write_file_atomic(path, out).ok()) stop("cannot write " + path);
}

void make_copies(const std::vector<std::string>& archives, const std::string& folder, int64_t bytes) {
  if (!make_directories(folder).ok()) stop("cannot make " + folder);
  int64_t made = 0;
  for (int copy = 0; made < bytes; ++copy)
    for (size_t a = 0; a < archives.size() && made < bytes; ++a) {
      std::vector<RawArticle> articles = read_articles(archives[a]);
      std::vector<std::string> words;
      for (size_t k = 0; k < articles.size(); k += 7)
        for (const std::string& word : split(articles[k].bytes, ' '))
          if (word.size() > 2 && std::all_of(word.begin(), word.end(), is_ascii_letter))
            words.push_back(word);
      std::string tar;
      for (size_t k = 0; k < articles.size(); ++k) {
        std::string xml = copy == 0 ? articles[k].bytes : changed_copy(articles[k].bytes, words, k, copy);
        made += static_cast<int64_t>(xml.size());
        std::string name = path_name(articles[k].source);
        append_tar(tar, "copy" + std::to_string(copy) + "/" + name, xml);
      }
      tar.append(1024, '\0');
      write_gzip(path_join(folder, "copy" + std::to_string(copy) + "-" + std::to_string(a) + ".tar.gz"), tar);
    }
  std::printf("%.2f GB of XML in %s\n", static_cast<double>(made) / 1e9, folder.c_str());
}

// ---- the parts ----

// What the same archive costs when it is only inflated.
uint64_t inflate_isal(const MappedFile& file, std::vector<uint8_t>& buffer) {
  inflate_state state;
  isal_inflate_init(&state);
  state.crc_flag = ISAL_GZIP;
  state.next_in = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(file.bytes().data()));
  state.avail_in = static_cast<uint32_t>(file.size());
  uint64_t made = 0;
  do {
    state.next_out = buffer.data();
    state.avail_out = static_cast<uint32_t>(buffer.size());
    if (isal_inflate(&state) != ISAL_DECOMP_OK) stop("ISA-L cannot inflate " + file.path());
    made += buffer.size() - state.avail_out;
  } while (state.block_state != ISAL_BLOCK_FINISH);
  return made;
}

void measure_parts(const std::vector<std::string>& archives, const std::string& tokenizer_path) {
  set_thread_count(1);
  bench::print_machine();
  std::vector<RawArticle> articles;
  uint64_t xml = 0, packed = 0;
  std::vector<MappedFile> files;
  for (const std::string& archive : archives) {
    for (RawArticle& article : read_articles(archive)) {
      xml += article.bytes.size();
      articles.push_back(std::move(article));
    }
    auto file = MappedFile::open(archive);
    if (!file.ok()) stop(file.error().paragraph());
    packed += file->size();
    files.push_back(*file);
  }
  CorpusOptions options;
  CorpusSwitches plain, all;
  plain.drop_near = false;
  ArticlePolicy text_only = make_policy(options, nullptr, plain), whole = make_policy(options, nullptr, all);
  std::vector<uint8_t> buffer(1 << 20);
  uint64_t inflated = 0, text_bytes = 0, kept = 0;
  std::vector<std::string> texts;
  auto to_text = [&](const ArticlePolicy& policy, bool keep) {
    for (const RawArticle& raw : articles)
      for (ArticleOutcome& outcome : process_article(raw.bytes, raw.source, policy)) {
        if (!keep) continue;
        ++kept;
        text_bytes += outcome.text.size();
        texts.push_back(std::move(outcome.text));
      }
  };
  to_text(whole, true);
  std::vector<std::function<void()>> work = {[&] {
                                               inflated = 0;
                                               for (const MappedFile& file : files)
                                                 inflated += inflate_isal(file, buffer);
                                             },
                                             [&] {
                                               for (const std::string& archive : archives)
                                                 (void)read_articles(archive);
                                             },
                                             [&] {
                                               for (const RawArticle& raw : articles)
                                                 (void)parse_xml(raw.bytes);
                                             },
                                             [&] { to_text(text_only, false); },
                                             [&] { to_text(whole, false); },
                                             [&] {
                                               for (const std::string& archive : archives) {
                                                 auto plan = plan_inputs({archive});
                                                 for (const InputPart& part : *plan) {
                                                   PartReader reader(part, 1u << 30);
                                                   for (bool more = true; more;) {
                                                     std::vector<RawArticle> batch;
                                                     more = reader.next(batch, 16u << 20, 1024);
                                                     for (RawArticle& raw : batch)
                                                       if (raw.is_article)
                                                         (void)process_article(std::move(raw.bytes),
                                                                               raw.source, text_only);
                                                   }
                                                 }
                                               }
                                             }};
  std::shared_ptr<const Tokenizer> tokenizer;
  if (!tokenizer_path.empty()) {
    auto loaded = Tokenizer::load(tokenizer_path);
    if (!loaded.ok()) stop(loaded.error().paragraph());
    tokenizer = *loaded;
    work.push_back([&] {
      for (const std::string& text : texts)
        for (std::string_view piece : cut_pieces(text, 1000, false))
          (void)encode_piece(*tokenizer, piece, false);
    });
  }
  std::vector<bench::Times> times = bench::alternate(work, 20, true);
  const char* names[] = {"inflate only (ISA-L)",     "read the archives",
                         "parse (entities, tree)",   "XML to text, licence, language",
                         "the same with signatures", "archive to text",
                         "tokenize (MB of text)"};
  std::printf("%zu articles, %.1f MB packed, %.1f MB of XML, %.1f MB of text\n", articles.size(),
              static_cast<double>(packed) / 1e6, static_cast<double>(xml) / 1e6,
              static_cast<double>(text_bytes) / 1e6);
  for (size_t i = 0; i < times.size(); ++i) {
    double bytes = static_cast<double>(i == 6 ? text_bytes : xml);
    std::printf("%-34s %8.1f MB/s   %6.2f x inflating\n", names[i], bytes / times[i].median / 1e6,
                times[i].median / times[0].median);
  }
}

// ---- near-duplicates ----

void measure_near(int64_t count) {
  set_thread_count(1);
  bench::print_machine();
  std::vector<std::string> texts = {};
  CounterRandom random(7, 1);
  uint64_t draw = 0;
  auto word = [&](std::string& text) {
    static const char* const kSyllables[] = {"ka", "lo", "mi", "ten", "ras", "ul", "fo", "ber", "si", "nox"};
    for (uint64_t k = 0, n = 1 + random.below(draw++, 4); k < n; ++k)
      text += kSyllables[random.below(draw++, 10)];
  };
  // One in ten is a copy of an earlier one with 1 % of its words changed.
  for (int64_t i = 0; i < count; ++i) {
    std::string text;
    if (i % 10 == 9) {
      for (const std::string& old : split(texts[static_cast<size_t>(i - 5)], ' ')) {
        if (!text.empty()) text += ' ';
        if (random.below(draw++, 100) == 0)
          text += "changed";
        else
          text += old;
      }
    } else {
      for (int w = 0; w < 300; ++w) {
        if (w) text += ' ';
        word(text);
      }
    }
    texts.push_back(std::move(text));
  }
  double begin = bench::process_cpu_seconds();
  std::string keys;
  PlainWords words;
  uint64_t bytes = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    plain_words(texts[i], words);
    MinHashSignature signature;
    ArticleKeys one = article_keys(texts[i], std::to_string(i), 0);
    if (minhash_signature(words, signature)) one.bands = minhash_bands(signature);
    keys.append(reinterpret_cast<const char*>(&one), sizeof one);
    bytes += texts[i].size();
  }
  double middle = bench::process_cpu_seconds();
  std::string path = "/tmp/bench_corpus.keys";
  if (!write_file_atomic(path, keys).ok()) stop("cannot write " + path);
  KeyFiles files;
  if (!files.add(path).ok()) stop("cannot read " + path);
  std::vector<uint32_t> of = find_duplicates(files, {});
  double end = bench::process_cpu_seconds();
  int64_t planted = 0, found = 0, wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    bool copy = i % 10 == 9, dropped = of[static_cast<size_t>(i)] != static_cast<uint32_t>(i);
    planted += copy ? 1 : 0;
    found += copy && of[static_cast<size_t>(i)] == static_cast<uint32_t>(i - 5) ? 1 : 0;
    wrong += !copy && dropped ? 1 : 0;
  }
  std::printf(
      "%lld articles, %.1f MB: signatures %.2f s (%.1f MB/s), clusters %.2f s; %lld of %lld planted copies "
      "found, %lld others dropped\n",
      static_cast<long long>(count), static_cast<double>(bytes) / 1e6, middle - begin,
      static_cast<double>(bytes) / 1e6 / (middle - begin), end - middle, static_cast<long long>(found),
      static_cast<long long>(planted), static_cast<long long>(wrong));
  std::string out = std::getenv("BENCH_CORPUS_TEXTS") ? std::getenv("BENCH_CORPUS_TEXTS") : "";
  if (out.empty()) return;
  std::string lines;
  for (size_t i = 0; i < texts.size(); ++i)
    lines += "{\"id\":\"" + std::to_string(i) + "\",\"text\":\"" + texts[i] + "\"}\n";
  if (!write_file_atomic(out, lines).ok()) stop("cannot write " + out);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> archives;
  for (int i = 1; i < argc; ++i)
    if (std::string(argv[i]).rfind("--", 0) != 0) archives.emplace_back(argv[i]);
  std::string folder = text_argument(argc, argv, "make");
  if (int64_t near = bench::argument(argc, argv, "near", 0)) {
    measure_near(near);
  } else if (archives.empty()) {
    stop("name archives of articles");
  } else if (!folder.empty()) {
    make_copies(archives, folder, bench::argument(argc, argv, "bytes", 2'000'000'000));
  } else {
    measure_parts(archives, text_argument(argc, argv, "tokenizer"));
  }
  return 0;
}
