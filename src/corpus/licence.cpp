#include "corpus/licence.h"

#include <algorithm>

#include "base/file.h"
#include "corpus/xml.h"

namespace bm {

namespace {

struct KindName {
  LicenceKind kind;
  std::string_view key, name;
};
constexpr KindName kNames[] = {
    {LicenceKind::cc0, "cc0", "CC0"},
    {LicenceKind::public_domain, "pd", "public domain"},
    {LicenceKind::by, "by", "CC BY"},
    {LicenceKind::by_sa, "by-sa", "CC BY-SA"},
    {LicenceKind::by_nd, "by-nd", "CC BY-ND"},
    {LicenceKind::by_nc, "by-nc", "CC BY-NC"},
    {LicenceKind::by_nc_sa, "by-nc-sa", "CC BY-NC-SA"},
    {LicenceKind::by_nc_nd, "by-nc-nd", "CC BY-NC-ND"},
    {LicenceKind::custom, "custom", "custom"},
    {LicenceKind::none, "none", "none"},
    {LicenceKind::unknown, "unknown", "unknown"},
};

bool is_element(pugi::xml_node node) { return node.type() == pugi::node_element; }

std::string shortened(std::string text) {
  constexpr size_t kLongest = 400;
  if (text.size() <= kLongest) return text;
  size_t end = kLongest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "…";
}

// ---- gathering ----

void add(std::vector<LicenceEvidence>& all, LicenceEvidence evidence, std::string where, std::string text) {
  if (evidence.kind == LicenceKind::unknown) return;
  evidence.where = std::move(where);
  evidence.text = shortened(std::move(text));
  all.push_back(std::move(evidence));
}

// Links and addresses inside a licence's text, in order of appearance.
void add_links(std::vector<LicenceEvidence>& all, pugi::xml_node licence) {
  std::vector<LicenceEvidence> found;
  pugi::xml_node node = licence.first_child();
  while (node) {
    std::string_view name = local_name(node.name());
    if (is_element(node) && name != "license_ref") {
      std::string href(attribute_named(node, "href"));
      if (!href.empty())
        add(found, read_licence_address(href), "license-p/" + std::string(name) + "/@xlink:href", href);
    }
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && node != licence && !node.next_sibling()) node = node.parent();
    if (!node || node == licence) break;
    node = node.next_sibling();
  }
  std::string text = flat_text(licence);
  for (size_t at = text.find("http"); at != std::string::npos; at = text.find("http", at + 4)) {
    size_t end = text.find_first_of(" ,;)]>\"", at);
    std::string address = text.substr(at, end == std::string::npos ? end : end - at);
    while (!address.empty() && address.back() == '.') address.pop_back();
    add(found, read_licence_address(address), "license-p address", address);
  }
  // "The CC0 waiver applies to the data": beside a licence of the article a link to CC0 is about its data.
  bool other = std::any_of(found.begin(), found.end(),
                           [](const LicenceEvidence& e) { return e.kind != LicenceKind::cc0; });
  bool named = other || !all.empty();
  for (LicenceEvidence& evidence : found) {
    bool for_data = evidence.kind == LicenceKind::cc0 && named && text.find("data") != std::string::npos;
    if (!for_data) all.push_back(std::move(evidence));
  }
}

void add_licence_element(std::vector<LicenceEvidence>& all, pugi::xml_node licence) {
  std::string href(attribute_named(licence, "href"));
  if (!href.empty()) add(all, read_licence_address(href), "license/@xlink:href", href);
  for (pugi::xml_node child = licence.first_child(); child; child = child.next_sibling())
    if (is_element(child) && local_name(child.name()) == "license_ref") {
      std::string address = flat_text(child);
      add(all, read_licence_address(address), "license/ali:license_ref", address);
    }
  add_links(all, licence);
  std::string text = flat_text(licence);
  add(all, read_licence_words(text), "license text", text);
  std::string type(attribute_named(licence, "license-type"));
  add(all, read_licence_words(type), "license/@license-type", type);
}

// <permissions> of the article; NLM 2.x also has <license> and <copyright-statement> right in <article-meta>.
std::vector<LicenceEvidence> gather(pugi::xml_node article, bool& has_words) {
  std::vector<LicenceEvidence> all;
  pugi::xml_node meta = child_named(child_named(article, "front"), "article-meta");
  std::vector<pugi::xml_node> places;
  for (pugi::xml_node child = meta.first_child(); child; child = child.next_sibling())
    if (is_element(child) && local_name(child.name()) == "permissions") places.push_back(child);
  places.push_back(meta);
  for (pugi::xml_node place : places)
    for (pugi::xml_node child = place.first_child(); child; child = child.next_sibling()) {
      std::string_view name = local_name(child.name());
      if (name == "license") {
        add_licence_element(all, child);
        has_words = has_words || !flat_text(child).empty();
      } else if (name == "license_ref") {
        std::string address = flat_text(child);
        add(all, read_licence_address(address), "permissions/ali:license_ref", address);
      }
    }
  for (pugi::xml_node place : places)
    for (pugi::xml_node child = place.first_child(); child; child = child.next_sibling()) {
      std::string_view name = local_name(child.name());
      if (name != "copyright-statement" && name != "copyright") continue;
      std::string text = flat_text(child);
      add_links(all, child);
      add(all, read_licence_words(text), "copyright-statement", text);
      has_words = has_words || read_licence_words(text).kind == LicenceKind::custom;
    }
  return all;
}

// Custom words ("permits unrestricted use") beside a named licence say no more than it does.
void drop_custom_beside_named(std::vector<LicenceEvidence>& all) {
  bool named = std::any_of(all.begin(), all.end(),
                           [](const LicenceEvidence& e) { return e.kind != LicenceKind::custom; });
  if (named) std::erase_if(all, [](const LicenceEvidence& e) { return e.kind == LicenceKind::custom; });
}

LicenceEvidence evidence_of_list(LicenceKind kind) {
  LicenceEvidence evidence;
  evidence.kind = kind;
  evidence.where = "file list";
  evidence.text = kind == LicenceKind::custom ? "NO-CC CODE" : licence_name(kind, "");
  return evidence;
}

// NLM sorts its packages by what the licence allows: oa_comm, oa_noncomm, oa_other.
std::string group_conflict(const Licence& licence, std::string_view source) {
  bool commercial = licence_narrowness(licence.kind) <= 2;
  for (std::string_view group : {"oa_noncomm", "oa_other", "oa_comm"}) {
    if (source.find(group) == std::string_view::npos) continue;
    if (commercial == (group == "oa_comm")) return {};
    std::string said = licence.evidence.where.empty() ? "the article" : licence.evidence.where;
    return said + " says " + licence.name() + ", the package is NLM's " + std::string(group);
  }
  return {};
}

}  // namespace

// Of two statements the higher one counts. Kinds of equal rank that differ (share-alike against no
// derivatives) cannot be ordered: then the outcome is unknown.
int licence_narrowness(LicenceKind kind) {
  switch (kind) {
    case LicenceKind::cc0:
    case LicenceKind::public_domain:
      return 0;
    case LicenceKind::by:
      return 1;
    case LicenceKind::by_sa:
    case LicenceKind::by_nd:
      return 2;
    case LicenceKind::by_nc:
      return 3;
    case LicenceKind::by_nc_sa:
    case LicenceKind::by_nc_nd:
      return 4;
    default:
      return 5;
  }
}

std::string_view licence_key(LicenceKind kind) {
  for (const KindName& entry : kNames)
    if (entry.kind == kind) return entry.key;
  return "unknown";
}

std::optional<LicenceKind> parse_licence_kind(std::string_view key) {
  std::string lower;
  for (char c : key)
    lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c == ' ' || c == '_' ? '-' : c;
  if (starts_with(lower, "cc-")) lower.erase(0, 3);
  for (const KindName& entry : kNames)
    if (entry.key == lower) return entry.kind;
  return std::nullopt;
}

std::string licence_name(LicenceKind kind, std::string_view version) {
  for (const KindName& entry : kNames)
    if (entry.kind == kind)
      return std::string(entry.name) + (version.empty() ? "" : " " + std::string(version));
  return "unknown";
}

std::string Licence::name() const { return licence_name(kind, version); }

Licence classify_licence(pugi::xml_node article, std::string_view pmcid, const LicenceLists* lists,
                         std::string_view source) {
  Licence licence;
  bool has_words = false;
  std::vector<LicenceEvidence> all = gather(article, has_words);
  drop_custom_beside_named(all);
  std::optional<LicenceEvidence> listed;
  if (lists)
    if (std::optional<ListedLicence> found = lists->find(pmcid)) listed = evidence_of_list(found->kind);
  if (all.empty()) {
    licence.kind = listed ? listed->kind : has_words ? LicenceKind::unknown : LicenceKind::none;
    if (listed) licence.evidence = *listed;
    licence.conflict = group_conflict(licence, source);
    return licence;
  }
  // "NO-CC CODE" only says that NLM read no Creative Commons licence: no narrower one, but worth a line.
  if (listed && listed->kind != LicenceKind::custom) all.push_back(*listed);
  if (listed && listed->kind == LicenceKind::custom && all[0].kind != LicenceKind::custom)
    licence.conflict =
        all[0].where + " says " + licence_name(all[0].kind, all[0].version) + ", file list says NO-CC CODE";
  // The first names it; a narrower statement elsewhere wins and the conflict is kept.
  size_t decided = 0;
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].kind == all[decided].kind) continue;
    int before = licence_narrowness(all[decided].kind), now = licence_narrowness(all[i].kind);
    if (licence.conflict.empty() && !(before == 0 && now == 0))
      licence.conflict = all[0].where + " says " + licence_name(all[0].kind, all[0].version) + ", " +
                         all[i].where + " says " + licence_name(all[i].kind, all[i].version);
    if (now > before) decided = i;
  }
  licence.kind = all[decided].kind;
  licence.version = all[decided].version;
  // An address without a version beside words with one: the words' version is the licence's.
  for (const LicenceEvidence& evidence : all)
    if (licence.version.empty() && evidence.kind == licence.kind) licence.version = evidence.version;
  licence.evidence = all[decided];
  for (size_t i = 0; i < all.size(); ++i)
    if (i != decided) licence.others.push_back(all[i]);
  // Neither of these two contains the other.
  for (const LicenceEvidence& evidence : licence.others)
    if (evidence.kind != licence.kind &&
        licence_narrowness(evidence.kind) == licence_narrowness(licence.kind) &&
        licence_narrowness(licence.kind) == 2)
      licence.kind = LicenceKind::unknown;
  if (licence.conflict.empty()) licence.conflict = group_conflict(licence, source);
  return licence;
}

Json licence_evidence_json(const Licence& licence) {
  return Json::object({{"where", licence.evidence.where}, {"text", licence.evidence.text}});
}

}  // namespace bm
