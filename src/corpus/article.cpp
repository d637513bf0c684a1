#include "corpus/article.h"

#include <algorithm>

#include "base/hash.h"
#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm {

namespace {

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

// Two 64-bit hashes over letters and digits only, ASCII letters in lower case.
std::string content_key(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (char c : text) {
    auto b = static_cast<unsigned char>(c);
    if (b >= 'A' && b <= 'Z')
      plain += static_cast<char>(b - 'A' + 'a');
    else if ((b >= 'a' && b <= 'z') || (b >= '0' && b <= '9') || b >= 0x80)
      plain += c;
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string key;
  for (uint64_t seed : {uint64_t{0}, uint64_t{0x9E3779B97F4A7C15}}) {
    uint64_t hash = hash64(plain, seed);
    for (int shift = 60; shift >= 0; shift -= 4) key += kDigits[(hash >> shift) & 15];
  }
  return key;
}

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

ArticleOutcome process_one(pugi::xml_node node, const std::string& source, const ArticlePolicy& policy) {
  ArticleOutcome out;
  out.source = source;
  out.metadata = read_metadata(node);
  out.id = article_id(out.metadata, source);
  out.licence = classify_licence(node, out.metadata.pmcid, policy.lists);
  Result<std::string> text = article_text(node, policy.text);
  if (!text.ok()) {
    out.status = ArticleStatus::broken;
    out.reason = text.error().paragraph();
    return out;
  }
  out.text = std::move(text).value();
  out.words = count_words(out.text);
  judge(out, policy);
  if (out.status == ArticleStatus::kept) {
    out.authors = read_authors(node);
    out.content_key = content_key(out.text);
  } else {
    out.text.clear();
  }
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

ArticlePolicy make_policy(const CorpusOptions& options, const LicenceLists* lists) {
  ArticlePolicy policy;
  policy.text = options.text;
  for (const std::string& name : options.licenses)
    if (std::optional<LicenceKind> kind = parse_licence_kind(name)) policy.licences.push_back(*kind);
  policy.lists = lists;
  policy.min_words = options.min_words;
  policy.max_bytes = options.max_article_size.bytes;
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
    outcomes.back().notes = tree.notes;
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
