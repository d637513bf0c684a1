// What identifies an article: read from <article-meta> and <journal-meta> of NLM 2.x to JATS 1.4.
#pragma once

#include <pugixml.hpp>
#include <string>
#include <vector>

#include "base/json.h"

namespace bm {

struct ArticleMetadata {
  std::string pmcid;  // "PMC123"; "" when absent, as all below
  std::string pmid, doi, title, journal;
  int year = 0;                   // of the first publication; 0 = not said
  std::string declared_language;  // xml:lang's primary subtag in lower case
  std::string language;           // that; the DTD's default "en" when not said
  std::string article_type;
};

ArticleMetadata read_metadata(pugi::xml_node article);

// PMCID, else DOI, else the source's path.
std::string article_id(const ArticleMetadata& metadata, const std::string& source);

// Names of the authors as "Given Surname", in order, groups included (for attribution).
std::vector<std::string> read_authors(pugi::xml_node article);

}  // namespace bm
