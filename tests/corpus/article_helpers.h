#pragma once

#include <fstream>
#include <string>

#include "corpus/article.h"
#include "corpus/article_text.h"
#include "corpus/xml.h"

namespace bm::testing {

// An article around a body, with CC BY 4.0.
inline std::string article_xml(const std::string& body, const std::string& meta = "",
                               const std::string& attributes = "") {
  return "<article xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
         "xmlns:mml=\"http://www.w3.org/1998/Math/MathML\" " +
         attributes +
         "><front><journal-meta><journal-title-group><journal-title>Journal of "
         "Tests</journal-title></journal-title-group></journal-meta>"
         "<article-meta>" +
         meta +
         "<permissions><license "
         "xlink:href=\"https://creativecommons.org/licenses/by/4.0/\"><license-p>Open.</license-p></license>"
         "</permissions></article-meta></front><body>" +
         body + "</body></article>";
}

// Without the wait for the disk that write_file_atomic has: for tests with hundreds of files.
inline bool write_plain(const std::string& path, const std::string& content) {
  return static_cast<bool>(std::ofstream(path, std::ios::binary) << content);
}

inline std::string text_of_xml(const std::string& xml, const TextOptions& options = {}) {
  auto tree = parse_xml(xml);
  if (!tree.ok()) return "ERROR " + tree.error().paragraph();
  auto articles = find_articles((*tree)->document);
  if (articles.empty()) return "ERROR no article";
  auto text = article_text(articles[0], options);
  return text.ok() ? text.value() : "ERROR " + text.error().paragraph();
}

inline std::string body_text(const std::string& body, const TextOptions& options = {}) {
  return text_of_xml(article_xml(body), options);
}

}  // namespace bm::testing
