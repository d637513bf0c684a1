#include "corpus/audit.h"

#include <algorithm>
#include <unordered_map>

#include "base/log.h"
#include "base/system.h"
#include "base/threads.h"
#include "corpus/article_text.h"
#include "corpus/inputs.h"
#include "corpus/xml.h"

namespace bm {

namespace {

bool is_characters(pugi::xml_node node) {
  return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata;
}

// The characters as they are compared: white space and control characters left out, script characters
// as the plain ones, all dashes as one, TeX's dollars and a table's backslashes left out.
std::string folded(std::string_view text) {
  struct Pair {
    std::string_view from, to;
  };
  static constexpr Pair kPairs[] = {
      {"⁰", "0"},     {"¹", "1"},     {"²", "2"},     {"³", "3"},     {"⁴", "4"},     {"⁵", "5"},
      {"⁶", "6"},     {"⁷", "7"},     {"⁸", "8"},     {"⁹", "9"},     {"⁺", "+"},     {"⁻", "-"},
      {"⁼", "="},     {"⁽", "("},     {"⁾", ")"},     {"₀", "0"},     {"₁", "1"},     {"₂", "2"},
      {"₃", "3"},     {"₄", "4"},     {"₅", "5"},     {"₆", "6"},     {"₇", "7"},     {"₈", "8"},
      {"₉", "9"},     {"₊", "+"},     {"₋", "-"},     {"₌", "="},     {"₍", "("},     {"₎", ")"},
      {"−", "-"},     {"–", "-"},     {"‐", "-"},     {"‑", "-"},     {"\u00A0", ""}, {"\u0085", ""},
      {"\u3000", ""}, {"\u2000", ""}, {"\u2001", ""}, {"\u2002", ""}, {"\u2003", ""}, {"\u2004", ""},
      {"\u2005", ""}, {"\u2006", ""}, {"\u2007", ""}, {"\u2008", ""}, {"\u2009", ""}, {"\u200A", ""},
      {"\u2028", ""}, {"\u2029", ""}, {"\u202F", ""}, {"\u205F", ""}};
  std::string out;
  for (size_t i = 0; i < text.size();) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      if (c > 0x20 && c != 0x7F && c != '$' && c != '\\') out += text[i];
      ++i;
      continue;
    }
    bool found = false;
    for (const Pair& pair : kPairs)
      if (text.compare(i, pair.from.size(), pair.from) == 0) {
        out += pair.to;
        i += pair.from.size();
        found = true;
        break;
      }
    if (!found) out += text[i++];
  }
  return out;
}

std::string landed_source(const Landing& landing, std::string_view text) {
  std::string whole(text.substr(landing.begin, landing.end - landing.begin));
  std::vector<Cut> cuts = landing.cuts;
  std::stable_sort(cuts.begin(), cuts.end(), [](const Cut& a, const Cut& b) { return a.at < b.at; });
  size_t shift = 0;
  for (const Cut& cut : cuts) {
    whole.insert(std::min(cut.at + shift, whole.size()), cut.text);
    shift += cut.text.size();
  }
  return whole;
}

std::string place_of(pugi::xml_node node) {
  std::string path;
  for (pugi::xml_node up = node.parent(); up && up.type() == pugi::node_element; up = up.parent())
    path = std::string(up.name()) + (path.empty() ? "" : "/") + path;
  return path + ": \"" + to_utf8_safe(std::string_view(node.value()).substr(0, 60)) + "\"";
}

// All text nodes below root in document order; iterative.
std::vector<pugi::xml_node> text_nodes(pugi::xml_node root) {
  std::vector<pugi::xml_node> nodes;
  pugi::xml_node node = root.first_child();
  while (node) {
    if (is_characters(node)) nodes.push_back(node);
    if (node.first_child()) {
      node = node.first_child();
      continue;
    }
    while (node && node != root && !node.next_sibling()) node = node.parent();
    if (!node || node == root) break;
    node = node.next_sibling();
  }
  return nodes;
}

void tally(std::map<std::string, AuditTally>& tallies, std::string_view rule, size_t characters, bool node) {
  AuditTally& one = tallies[std::string(rule)];
  one.nodes += node ? 1 : 0;
  one.characters += static_cast<int64_t>(characters);
}

// A landing's account: what is in the text under its rule, what was cut out of it under the cuts' rules.
void account_landing(AuditReport& report, pugi::xml_node node, const Landing& landing,
                     const std::string& text) {
  std::string own = folded(node.value());
  if (folded(landed_source(landing, text)) != own)
    report.problems.push_back(
        "changed: " + place_of(node) + " became \"" +
        to_utf8_safe(text.substr(landing.begin, std::min<size_t>(landing.end - landing.begin, 60))) + "\"");
  size_t cut_total = 0;
  std::string_view cut_rule;
  for (const Cut& cut : landing.cuts) {
    size_t characters = folded(cut.text).size();
    cut_total += characters;
    if (characters) cut_rule = cut.rule;
    if (characters) tally(report.dropped, cut.rule, characters, false);
  }
  bool all_cut = !own.empty() && cut_total >= own.size();
  if (all_cut)
    ++report.dropped[std::string(cut_rule)].nodes;
  else
    tally(report.landed, landing.rule, own.size() - std::min(cut_total, own.size()), true);
}

}  // namespace

Result<AuditReport> audit_article(pugi::xml_node article, const TextOptions& options) {
  Trace trace;
  BM_TRY(std::string text, article_text(article, options, &trace));
  std::unordered_map<const void*, std::vector<const Landing*>> landed;
  std::unordered_map<const void*, std::vector<std::string_view>> dropped;
  for (const Landing& landing : trace.landings) landed[landing.node].push_back(&landing);
  for (const Dropped& drop : trace.dropped) dropped[drop.node].push_back(drop.rule);
  AuditReport report;
  size_t last_end = 0;
  for (const Landing& landing : trace.landings) {
    if (landing.begin < last_end && landing.end > landing.begin)
      report.problems.push_back("overlap at byte " + std::to_string(landing.begin) + " of the text");
    last_end = std::max(last_end, landing.end);
  }
  for (pugi::xml_node node : text_nodes(article)) {
    const void* key = node.internal_object();
    size_t places = landed[key].size() + dropped[key].size();
    std::string own = folded(node.value());
    if (own.empty()) {
      ++report.white_space_nodes;
      continue;
    }
    ++report.total.nodes;
    report.total.characters += static_cast<int64_t>(own.size());
    if (places == 0) report.problems.push_back("lost: " + place_of(node));
    if (places > 1)
      report.problems.push_back("accounted " + std::to_string(places) + " times: " + place_of(node));
    for (const Landing* landing : landed[key]) account_landing(report, node, *landing, text);
    for (std::string_view rule : dropped[key]) tally(report.dropped, rule, own.size(), true);
  }
  return report;
}

Json audit_json(const AuditReport& report) {
  auto tallies = [](const std::map<std::string, AuditTally>& all) {
    Json out = Json::object();
    for (const auto& [rule, one] : all)
      out.set(rule, Json::object({{"nodes", one.nodes}, {"characters", one.characters}}));
    return out;
  };
  Json problems = Json::array();
  for (const std::string& problem : report.problems) problems.push_back(problem);
  return Json::object({{"source", report.source},
                       {"text_nodes", report.total.nodes},
                       {"characters", report.total.characters},
                       {"white_space_nodes", report.white_space_nodes},
                       {"landed", tallies(report.landed)},
                       {"dropped", tallies(report.dropped)},
                       {"problems", std::move(problems)}});
}

void add_audit(AuditReport& sum, const AuditReport& one) {
  auto add = [](std::map<std::string, AuditTally>& into, const std::map<std::string, AuditTally>& from) {
    for (const auto& [rule, tally] : from) {
      into[rule].nodes += tally.nodes;
      into[rule].characters += tally.characters;
    }
  };
  add(sum.landed, one.landed);
  add(sum.dropped, one.dropped);
  sum.total.nodes += one.total.nodes;
  sum.total.characters += one.total.characters;
  sum.white_space_nodes += one.white_space_nodes;
  for (const std::string& problem : one.problems) sum.problems.push_back(one.source + " → " + problem);
}

namespace {

std::vector<AuditReport> audit_raw(RawArticle& raw, const TextOptions& options) {
  auto problem = [&](std::string what) {
    AuditReport report;
    report.source = raw.source;
    report.problems.push_back("broken: " + std::move(what));
    return std::vector<AuditReport>{std::move(report)};
  };
  if (!raw.is_article) return {};
  if (!raw.problem.empty()) return problem(raw.problem);
  Result<std::unique_ptr<XmlTree>> tree = parse_xml(std::move(raw.bytes));
  if (!tree.ok()) return problem(tree.error().paragraph());
  std::vector<AuditReport> reports;
  for (pugi::xml_node article : find_articles((*tree)->document)) {
    Result<AuditReport> report = audit_article(article, options);
    if (!report.ok()) return problem(report.error().paragraph());
    report->source = raw.source;
    reports.push_back(std::move(report).value());
  }
  return reports;
}

}  // namespace

Result<std::vector<AuditReport>> audit_corpus(const CorpusOptions& options, const CommonOptions& common) {
  BM_TRY(std::vector<InputPart> inputs, plan_inputs(options.inputs));
  std::vector<AuditReport> reports;
  int64_t articles = 0;
  for (const InputPart& part : inputs) {
    PartReader reader(part, options.max_article_size.bytes);
    for (bool more = true; more;) {
      std::vector<RawArticle> batch;
      more = reader.next(batch, 16ull << 20, 256);
      if (common.limit > 0 && articles + static_cast<int64_t>(batch.size()) > common.limit) {
        batch.resize(static_cast<size_t>(common.limit - articles));
        more = false;
      }
      articles += static_cast<int64_t>(batch.size());
      std::vector<std::vector<AuditReport>> done(batch.size());
      parallel_for(batch.size(), [&](size_t i) { done[i] = audit_raw(batch[i], options.text); });
      for (std::vector<AuditReport>& some : done)
        for (AuditReport& one : some) reports.push_back(std::move(one));
      if (stop_requested()) return interrupted_error("corpus audit");
    }
    if (common.limit > 0 && articles >= common.limit) break;
  }
  return reports;
}

}  // namespace bm
