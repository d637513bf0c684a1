#include "corpus/article.h"

#include <algorithm>

#include "corpus/minhash.h"
#include "corpus/quality.h"
#include "corpus/xml.h"

namespace bm {

namespace {

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

void judge(ArticleOutcome& out, const ArticlePolicy& policy) {
  bool allowed =
      std::find(policy.licences.begin(), policy.licences.end(), out.licence.kind) != policy.licences.end();
  out.status = ArticleStatus::rejected;
  if (!allowed) {
    switch (out.licence.kind) {
      case LicenceKind::none:
        out.reason = "no licence statement found";
        break;
      case LicenceKind::unknown:
        out.reason = "licence not recognized";
        break;
      default:
        out.reason = "licence " + out.licence.name() + " is not among those to keep";
    }
    if (!out.licence.conflict.empty()) out.reason += " (contradictory: " + out.licence.conflict + ")";
  } else if (out.words < std::max<int64_t>(policy.min_words, 1)) {
    out.reason = out.words == 0 ? "no text" : std::to_string(out.words) + " words, fewer than --min-words";
  } else {
    out.status = ArticleStatus::kept;
    out.reason = "licence " + out.licence.name();
  }
}

// Filters by what the text is like. The text stays, so that a run can write what it left out.
void filter(ArticleOutcome& out, const ArticlePolicy& policy) {
  std::string reason;
  bool wanted = policy.languages.empty() || std::find(policy.languages.begin(), policy.languages.end(),
                                                      out.metadata.language) != policy.languages.end();
  if (!wanted) reason = "language " + out.metadata.language + " is not among those to keep";
  if (reason.empty()) {
    reason = broken_quality_rule(out.text, out.metadata.language, policy.filters);
    if (!reason.empty()) reason = "filter " + reason;
  }
  if (reason.empty()) return;
  out.status = ArticleStatus::rejected;
  out.reason = std::move(reason);
  out.filtered = true;
}

void count_sections(ArticleOutcome& out, const std::vector<SectionMark>& marks) {
  for (size_t i = 0; i < marks.size(); ++i) {
    size_t end = i + 1 < marks.size() ? marks[i + 1].begin : out.text.size();
    if (end <= marks[i].begin) continue;
    int64_t words = count_words(std::string_view(out.text).substr(marks[i].begin, end - marks[i].begin));
    auto same = std::find_if(out.sections.begin(), out.sections.end(),
                             [&](const auto& section) { return section.first == marks[i].name; });
    if (same != out.sections.end())
      same->second += words;
    else if (words > 0)
      out.sections.emplace_back(marks[i].name, words);
  }
}

// The languages of an article's abstracts, where it has several.
std::vector<std::string> languages_of_abstracts(pugi::xml_node article, const ArticleMetadata& metadata) {
  std::vector<std::string> languages;
  pugi::xml_node meta = child_named(child_named(article, "front"), "article-meta");
  for (pugi::xml_node node = meta.first_child(); node; node = node.next_sibling()) {
    std::string_view name = local_name(node.name());
    if (name != "abstract" && name != "trans-abstract") continue;
    std::string declared(attribute_named(node, "lang").substr(0, 2));
    if (declared.empty() && name == "abstract") declared = metadata.declared_language;
    languages.push_back(settle_language(declared, detect_language(flat_text(node))));
  }
  if (languages.size() < 2) languages.clear();
  return languages;
}

void compare(ArticleOutcome& out, const ArticlePolicy& policy) {
  thread_local PlainWords words;
  out.keys = article_keys(out.text, out.id, policy.seed);
  out.keys.words = static_cast<uint32_t>(std::min<int64_t>(out.words, UINT32_MAX));
  bool near = policy.compare_near && out.words >= policy.near_min_words;
  if (!near && !policy.benchmarks) return;
  plain_words(out.text, words);
  MinHashSignature signature;
  if (near && minhash_signature(words, signature)) out.keys.bands = minhash_bands(signature);
  if (policy.benchmarks) out.items = policy.benchmarks->find(words);
}

ArticleOutcome process_one(pugi::xml_node node, const std::string& source, const ArticlePolicy& policy) {
  ArticleOutcome out;
  out.source = source;
  out.metadata = read_metadata(node);
  out.id = article_id(out.metadata, source);
  out.licence = classify_licence(node, out.metadata.pmcid, policy.lists, source);
  if (policy.lists)
    if (auto listed = policy.lists->find(out.metadata.pmcid); listed && listed->retracted)
      out.notes.push_back("retracted, says the file list");
  std::vector<SectionMark> sections;
  Result<std::string> text = article_text(node, policy.text, nullptr, &sections);
  if (!text.ok()) {
    out.status = ArticleStatus::broken;
    out.reason = text.error().paragraph();
    return out;
  }
  out.text = std::move(text).value();
  out.words = count_words(out.text);
  judge(out, policy);
  if (out.status != ArticleStatus::kept) {
    out.text.clear();
    return out;
  }
  out.detected = detect_language(out.text);
  out.metadata.language = settle_language(out.metadata.declared_language, out.detected);
  filter(out, policy);
  out.abstract_languages = languages_of_abstracts(node, out.metadata);
  if (out.status != ArticleStatus::kept) return out;
  out.authors = read_authors(node);
  count_sections(out, sections);
  compare(out, policy);
  return out;
}

ArticleOutcome broken(const std::string& source, std::string reason) {
  ArticleOutcome out;
  out.source = out.id = source;
  out.reason = std::move(reason);
  return out;
}

}  // namespace

std::string_view status_name(ArticleStatus status) {
  switch (status) {
    case ArticleStatus::kept:
      return "kept";
    case ArticleStatus::rejected:
      return "rejected";
    case ArticleStatus::broken:
      return "broken";
    case ArticleStatus::duplicate:
      return "duplicate";
    case ArticleStatus::contaminated:
      return "contaminated";
  }
  return "broken";
}

Json ArticleOutcome::record() const {
  Json meta = Json::object({{"source", source},
                            {"pmcid", text_or_null(metadata.pmcid)},
                            {"pmid", text_or_null(metadata.pmid)},
                            {"doi", text_or_null(metadata.doi)},
                            {"title", text_or_null(metadata.title)},
                            {"journal", text_or_null(metadata.journal)},
                            {"year", metadata.year ? Json(metadata.year) : Json()},
                            {"language", metadata.language},
                            {"license", licence.name()},
                            {"license_evidence", licence_evidence_json(licence)},
                            {"words", words}});
  if (!metadata.article_type.empty()) meta.set("article_type", metadata.article_type);
  if (!metadata.declared_language.empty() && metadata.declared_language != metadata.language)
    meta.set("declared_language", metadata.declared_language);
  if (!abstract_languages.empty()) {
    Json all = Json::array();
    for (const std::string& language : abstract_languages) all.push_back(language);
    meta.set("abstract_languages", std::move(all));
  }
  return Json::object({{"id", id}, {"text", text}, {"metadata", std::move(meta)}});
}

Json ArticleOutcome::ledger() const {
  Json line =
      Json::object({{"source", source}, {"status", std::string(status_name(status))}, {"reason", reason}});
  if (id != source) line.set("id", id);
  if (status != ArticleStatus::broken) {
    line.set("license", licence.name());
    line.set("license_evidence", licence.evidence.where.empty() ? Json() : licence_evidence_json(licence));
    if (!licence.conflict.empty()) line.set("license_conflict", licence.conflict);
    line.set("words", words);
  }
  if (!notes.empty()) {
    Json all = Json::array();
    for (const std::string& note : notes) all.push_back(note);
    line.set("notes", std::move(all));
  }
  return line;
}

ArticlePolicy make_policy(const CorpusOptions& options, const LicenceLists* lists,
                          const CorpusSwitches& switches, const BenchmarkIndex* benchmarks) {
  ArticlePolicy policy;
  policy.text = options.text;
  for (const std::string& name : options.licenses)
    if (std::optional<LicenceKind> kind = parse_licence_kind(name)) policy.licences.push_back(*kind);
  policy.lists = lists;
  policy.min_words = options.min_words;
  policy.max_bytes = options.max_article_size.bytes;
  policy.languages = options.languages;
  if (auto rules = expand_quality_rules(options.filters); rules.ok()) policy.filters = *rules;
  policy.compare_near = switches.drop_near;
  policy.near_min_words = options.near_min_words;
  policy.benchmarks = benchmarks && !benchmarks->empty() ? benchmarks : nullptr;
  return policy;
}

std::vector<ArticleOutcome> process_article(std::string bytes, const std::string& source,
                                            const ArticlePolicy& policy) {
  if (policy.max_bytes && bytes.size() > policy.max_bytes)
    return {broken(source, "the file is larger than --max-article-size")};
  Result<std::unique_ptr<XmlTree>> parsed = parse_xml(std::move(bytes));
  if (!parsed.ok()) return {broken(source, parsed.error().paragraph())};
  const XmlTree& tree = *parsed.value();
  std::vector<pugi::xml_node> articles = find_articles(tree.document);
  if (articles.empty())
    return {broken(source, "holds no <article>: its root is <" +
                               std::string(tree.document.document_element().name()) + ">")};
  std::vector<ArticleOutcome> outcomes;
  for (size_t i = 0; i < articles.size(); ++i) {
    outcomes.push_back(
        process_one(articles[i], i == 0 ? source : source + "#" + std::to_string(i + 1), policy));
    ArticleOutcome& out = outcomes.back();
    out.notes.insert(out.notes.begin(), tree.notes.begin(), tree.notes.end());
  }
  return outcomes;
}

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (char c : text) {
    bool space = c == ' ' || c == '\n' || c == '\t';
    if (!space && !inside) ++words;
    inside = !space;
  }
  return words;
}

}  // namespace bm
