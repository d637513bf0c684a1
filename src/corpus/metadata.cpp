#include "corpus/metadata.h"

#include <algorithm>

#include "base/file.h"
#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm {

namespace {

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }

std::string digits_of(std::string_view text) {
  size_t begin = text.find_first_of("0123456789");
  if (begin == std::string_view::npos) return {};
  size_t end = text.find_first_not_of("0123456789", begin);
  return std::string(text.substr(begin, end == std::string_view::npos ? end : end - begin));
}

// "https://doi.org/10.1/x" and "doi:10.1/x" → "10.1/x"
std::string bare_doi(std::string text) {
  size_t at = text.find("10.");
  return at == std::string::npos ? text : text.substr(at);
}

void read_ids(pugi::xml_node meta, ArticleMetadata& out) {
  for (pugi::xml_node node = meta.first_child(); node; node = node.next_sibling()) {
    if (!is_element(node) || local_name(node.name()) != "article-id") continue;
    std::string_view type = attribute_named(node, "pub-id-type");
    std::string value = flat_text(node);
    // "pmc" (until 2024) and "pmcid" carry the number with or without its letters; "pmcid-ver" a version,
    // "pmcaid" another number.
    if ((type == "pmc" || type == "pmcid") && out.pmcid.empty()) {
      std::string digits = digits_of(value);
      if (!digits.empty()) out.pmcid = "PMC" + digits;
    } else if (type == "pmid" && out.pmid.empty()) {
      out.pmid = digits_of(value);
    } else if (type == "doi" && out.doi.empty()) {
      out.doi = bare_doi(value);
    }
  }
}

int year_of(pugi::xml_node date) {
  std::string text = flat_text(child_named(date, "year"));
  if (text.size() < 4) text = std::string(attribute_named(date, "iso-8601-date"));
  if (text.size() < 4 ||
      !std::all_of(text.begin(), text.begin() + 4, [](char c) { return c >= '0' && c <= '9'; }))
    return 0;
  int year = std::stoi(text.substr(0, 4));
  return year >= 1000 && year <= 2999 ? year : 0;
}

// The earliest year of a publication date; dates of other events (release in PMC, retraction) only if there
// is no other.
int read_year(pugi::xml_node meta) {
  int published = 0, other = 0;
  for (pugi::xml_node node = meta.first_child(); node; node = node.next_sibling()) {
    if (!is_element(node) || local_name(node.name()) != "pub-date") continue;
    int year = year_of(node);
    if (year == 0) continue;
    std::string_view type = attribute_named(node, "pub-type"), kind = attribute_named(node, "date-type");
    bool event = type == "pmc-release" || type == "nihms-submitted" || type == "retraction" ||
                 kind == "retraction" || kind == "corrected";
    int& slot = event ? other : published;
    slot = slot == 0 ? year : std::min(slot, year);
  }
  return published ? published : other;
}

std::string read_journal(pugi::xml_node front) {
  pugi::xml_node meta = child_named(front, "journal-meta");
  pugi::xml_node title = child_named(child_named(meta, "journal-title-group"), "journal-title");
  if (!title) title = child_named(meta, "journal-title");
  if (title) return flat_text(title);
  for (pugi::xml_node node = meta.first_child(); node; node = node.next_sibling())
    if (is_element(node) && local_name(node.name()) == "journal-id") return flat_text(node);
  return {};
}

}  // namespace

ArticleMetadata read_metadata(pugi::xml_node article) {
  ArticleMetadata out;
  pugi::xml_node front = child_named(article, "front"), meta = child_named(front, "article-meta");
  read_ids(meta, out);
  pugi::xml_node title = child_named(child_named(meta, "title-group"), "article-title");
  if (title) {
    static const TextOptions options;
    out.title = inline_text(title, options);
  }
  out.journal = read_journal(front);
  out.year = read_year(meta);
  for (char c : attribute_named(article, "lang")) {
    if (c == '-' || c == '_') break;
    out.declared_language += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  out.language = out.declared_language.empty() ? "en" : out.declared_language;
  out.article_type = std::string(attribute_named(article, "article-type"));
  return out;
}

std::string article_id(const ArticleMetadata& metadata, const std::string& source) {
  if (!metadata.pmcid.empty()) return metadata.pmcid;
  return metadata.doi.empty() ? source : metadata.doi;
}

std::vector<std::string> read_authors(pugi::xml_node article) {
  std::vector<std::string> authors;
  pugi::xml_node meta = child_named(child_named(article, "front"), "article-meta");
  for (pugi::xml_node group = meta.first_child(); group; group = group.next_sibling()) {
    if (!is_element(group) || local_name(group.name()) != "contrib-group") continue;
    for (pugi::xml_node contrib = group.first_child(); contrib; contrib = contrib.next_sibling()) {
      std::string_view type = attribute_named(contrib, "contrib-type");
      if (!is_element(contrib) || local_name(contrib.name()) != "contrib" ||
          (!type.empty() && type != "author"))
        continue;
      pugi::xml_node name = child_named(contrib, "name");
      if (!name) name = child_named(child_named(contrib, "name-alternatives"), "name");
      std::string given = flat_text(child_named(name, "given-names")),
                  family = flat_text(child_named(name, "surname"));
      std::string whole = given.empty() ? family : given + " " + family;
      if (whole.empty()) whole = flat_text(child_named(contrib, "string-name"));
      if (whole.empty()) whole = flat_text(child_named(contrib, "collab"));
      if (!whole.empty()) authors.push_back(std::move(whole));
    }
  }
  return authors;
}

}  // namespace bm
