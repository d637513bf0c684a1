// Under which licence an article may be used, with the evidence: where it stands and what it says.
//
// Evidence in order (the first that names a licence decides, all others are held against it):
//   license/@xlink:href · license/ali:license_ref · links inside the licence's text · its words ·
//   license/@license-type · copyright-statement · NLM's file list.
// Only the article's own <permissions> count, not those of its figures. Where two statements differ in
// what they allow, the narrower one is taken and the conflict is named. Nothing found = unknown.
#pragma once

#include <cstdint>
#include <optional>
#include <pugixml.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace bm {

enum class LicenceKind : uint8_t {
  cc0,
  public_domain,
  by,
  by_sa,
  by_nd,
  by_nc,
  by_nc_sa,
  by_nc_nd,
  custom,
  none,
  unknown
};

// "by-nc-sa", as --licenses takes it; "pd" for the public domain.
std::string_view licence_key(LicenceKind kind);
std::optional<LicenceKind> parse_licence_kind(std::string_view key);

struct LicenceEvidence {
  LicenceKind kind = LicenceKind::unknown;
  std::string version;  // "4.0", "3.0 IGO"; "" when not said
  std::string where;    // "license/@xlink:href"
  std::string text;     // the address or the words it was read from
};

struct Licence {
  LicenceKind kind = LicenceKind::none;
  std::string version;
  LicenceEvidence evidence;             // the one that decided
  std::vector<LicenceEvidence> others;  // the rest, in order
  std::string conflict;  // "" or "license/@xlink:href says CC BY-SA 4.0, license-p text says CC BY-NC 4.0"

  std::string name() const;  // "CC BY 4.0", "CC0 1.0", "public domain", "custom", "none", "unknown"
};

std::string licence_name(LicenceKind kind, std::string_view version);

// A licence's address (creativecommons.org, the publishers' pages of the same licences); unknown when it is
// none.
LicenceEvidence read_licence_address(std::string_view address);
// A licence's words in English, Spanish, Portuguese or French; unknown when none is named.
LicenceEvidence read_licence_words(std::string_view words);

// What NLM's lists say of one article.
struct ListedLicence {
  LicenceKind kind = LicenceKind::unknown;  // custom: "NO-CC CODE"
  bool retracted = false;
};

// NLM's lists: oa_file_list.csv / .txt and the bulk packages' own (oa_comm_xml.….filelist.csv / .txt), with
// or without header, comma or tab, also packed. 8 bytes an article.
class LicenceLists {
 public:
  // bad_input: no line with a PMCID and a licence.
  Status add(const std::string& path);
  // nullopt when the lists do not know the article; of two lines the narrower licence.
  std::optional<ListedLicence> find(std::string_view pmcid) const;
  size_t size() const { return entries_.size(); }

 private:
  std::vector<uint64_t> entries_;  // number | narrowness | retracted | kind, sorted
};

// How little a licence allows: 0 (CC0) to 5 (custom, none, unknown).
int licence_narrowness(LicenceKind kind);

// article: the <article> element. lists may be null. `source` names the group of NLM's package the article
// came in ("oa_noncomm_xml.PMC001xxxxxx….tar.gz/…"); that is no licence, but a disagreement is reported.
Licence classify_licence(pugi::xml_node article, std::string_view pmcid, const LicenceLists* lists,
                         std::string_view source = {});

Json licence_evidence_json(const Licence& licence);  // {"where", "text"}

}  // namespace bm
