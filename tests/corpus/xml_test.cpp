#include <gtest/gtest.h>

#include "corpus/article_helpers.h"
#include "corpus/entities.h"

namespace bm {
namespace {

std::string root_text(const std::string& xml) {
  auto tree = parse_xml(xml);
  return tree.ok() ? flat_text((*tree)->document) : "ERROR " + tree.error().paragraph();
}
bool fails_with(const std::string& xml, const std::string& part) {
  auto tree = parse_xml(xml);
  return !tree.ok() && tree.error().paragraph().find(part) != std::string::npos;
}

TEST(Entities, TableIsSortedAndKnowsTheSets) {
  for (size_t i = 1; i < kNamedCharacterCount; ++i)
    ASSERT_LT(kNamedCharacters[i - 1].name, kNamedCharacters[i].name);
  EXPECT_EQ(named_character("alpha"), "α");
  EXPECT_EQ(named_character("agr"), "α");      // ISOgrk1
  EXPECT_EQ(named_character("b.alpha"), "𝛂");  // ISOgrk4
  EXPECT_EQ(named_character("Agrave"), "À");
  EXPECT_EQ(named_character("nosuch"), "");
}

TEST(Entities, NamedDeclaredAndUndefined) {
  EXPECT_EQ(root_text("<a>&alpha;&nbsp;&lt;&amp;&AMP;&#945;</a>"), "α\u00A0<&&α");
  EXPECT_EQ(root_text("<!DOCTYPE a [<!ENTITY me \"Jos&#233;\"> <!ENTITY two 'a>b'>]><a>&me; &two;</a>"),
            "José a>b");
  EXPECT_EQ(root_text("<a><![CDATA[&alpha;&nosuch;]]><!-- &nosuch; -->&beta;</a>"), "&alpha;&nosuch;β");
  EXPECT_TRUE(fails_with("<a>\n&nosuchentity;</a>", "undefined entity &nosuchentity;"));
  EXPECT_TRUE(fails_with("<a>\n&nosuchentity;</a>", "line 2"));
}

TEST(Entities, BombsAndExternalsAreNeverExpanded) {
  std::string bomb = "<!DOCTYPE a [<!ENTITY l0 \"lol\">";
  for (int i = 1; i < 10; ++i) {
    bomb += "<!ENTITY l" + std::to_string(i) + " \"";
    for (int k = 0; k < 10; ++k) bomb += "&l" + std::to_string(i - 1) + ";";
    bomb += "\">";
  }
  EXPECT_TRUE(fails_with(bomb + "]><a>&l9;</a>", "built from other entities"));
  EXPECT_TRUE(fails_with("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>", "external"));
  EXPECT_TRUE(fails_with("<!DOCTYPE a [<!ENTITY x \"<b>\">]><a>&x;</a>", "markup"));
  std::string many = "<!DOCTYPE a [<!ENTITY x \"" + std::string(1000, 'x') + "\">]><a>";
  for (int i = 0; i < 2000; ++i) many += "&x;";
  EXPECT_TRUE(fails_with(many + "</a>", "grow"));
  EXPECT_EQ(root_text("<!DOCTYPE a [<!ENTITY % p SYSTEM \"http://example.org/x.dtd\"> %p;]><a>b</a>"), "b");
}

TEST(Encodings, MarksDeclarationsAndSniffing) {
  EXPECT_EQ(root_text("\xEF\xBB\xBF<?xml version=\"1.0\"?><a>\xC3\xA9</a>"), "é");
  EXPECT_EQ(root_text("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\xE9\x93</a>"), "é“");
  EXPECT_EQ(root_text("<a>\xE9</a>"), "é");
  EXPECT_EQ(root_text("<?xml version='1.0' encoding='ISO-8859-2'?><a>\xB1</a>"), "ą");
  EXPECT_EQ(root_text(std::string("\xFF\xFE<\0a\0>\0\xE9\0<\0/\0a\0>\0", 18)), "é");
  EXPECT_EQ(root_text(std::string("\xFE\xFF\0<\0a\0>\0\xE9\0<\0/\0a\0>", 18)), "é");
  EXPECT_EQ(root_text(std::string("<\0a\0>\0b\0<\0/\0a\0>\0", 16)), "b");
  EXPECT_TRUE(fails_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>\xE9</a>", "no UTF-8"));
  EXPECT_TRUE(fails_with("<?xml version=\"1.0\" encoding=\"nonsense-7\"?><a/>", "not known"));
  EXPECT_TRUE(fails_with("<?xml version=\"1.0\" encoding=\"UTF-8//IGNORE\"?><a/>", "no name"));
  EXPECT_EQ(root_text("<a>one\r\ntwo</a>"), "one two");
}

TEST(Encodings, Utf8Validation) {
  EXPECT_EQ(first_invalid_utf8("plain ascii text, longer than eight"), std::string::npos);
  EXPECT_EQ(first_invalid_utf8("é€😀 and more"), std::string::npos);
  EXPECT_EQ(first_invalid_utf8("ab\xC0\x80"), 2u);        // overlong
  EXPECT_EQ(first_invalid_utf8("\xED\xA0\x80"), 0u);      // surrogate
  EXPECT_EQ(first_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // past U+10FFFF
  EXPECT_EQ(first_invalid_utf8("12345678\xE2\x82"), 8u);  // cut off
}

TEST(Malformed, EachIsAnErrorWithAReason) {
  EXPECT_TRUE(fails_with("", "empty"));
  EXPECT_TRUE(fails_with("just words", "not well-formed"));
  EXPECT_TRUE(fails_with("<a><b></a>", "not well-formed"));
  EXPECT_TRUE(fails_with("<a>", "not well-formed"));
  EXPECT_TRUE(fails_with("<a/><b/>", "root elements"));
  EXPECT_TRUE(fails_with("<!DOCTYPE a [<!ENTITY", "DOCTYPE does not end"));
  EXPECT_FALSE(parse_xml(std::string("\0\0\0\0", 4)).ok());
  EXPECT_FALSE(parse_xml(std::string("<a>\0</a>", 8)).ok() && false);
}

TEST(Articles, FoundInsideWrappers) {
  auto tree = parse_xml("<pmc-articleset><article><body/></article><x><article/></x></pmc-articleset>");
  ASSERT_TRUE(tree.ok());
  EXPECT_EQ(find_articles((*tree)->document).size(), 2u);
}

TEST(Metadata, OldAndNewForms) {
  std::string meta =
      "<article-id pub-id-type=\"pmcid\">PMC123</article-id><article-id "
      "pub-id-type=\"pmcid-ver\">PMC123.1</article-id><article-id pub-id-type=\"pmcaid\">99</article-id>"
      "<article-id pub-id-type=\"pmid\">456</article-id><article-id "
      "pub-id-type=\"doi\">10.1/x</article-id><title-group><article-title>H<sub>2</sub>O [<xref "
      "ref-type=\"bibr\">1</xref>]</article-title></title-group>"
      "<pub-date pub-type=\"pmc-release\"><year>2001</year></pub-date><pub-date "
      "pub-type=\"ppub\"><year>2013</year></pub-date><pub-date "
      "date-type=\"pub\"><year>2012</year></pub-date>";
  auto outcomes = process_article(
      testing::article_xml("<p>Text here.</p>", meta, "article-type=\"research-article\" xml:lang=\"PT-br\""),
      "a.xml", make_policy({}, nullptr));
  ASSERT_EQ(outcomes.size(), 1u);
  const ArticleOutcome& one = outcomes[0];
  EXPECT_EQ(one.status, ArticleStatus::kept) << one.reason;
  EXPECT_EQ(one.record().dump(),
            "{\"id\":\"PMC123\",\"text\":\"H₂O\\n\\nText "
            "here.\",\"metadata\":{\"source\":\"a.xml\",\"pmcid\":\"PMC123\",\"pmid\":\"456\",\"doi\":\"10.1/"
            "x\",\"title\":\"H₂O\",\"journal\":\"Journal of Tests\","
            "\"year\":2012,\"language\":\"pt\",\"license\":\"CC BY "
            "4.0\",\"license_evidence\":{\"where\":\"license/@xlink:href\",\"text\":\"https://"
            "creativecommons.org/licenses/by/4.0/\"},\"words\":3,"
            "\"article_type\":\"research-article\"}}");
  EXPECT_EQ(article_id({}, "folder/a.xml"), "folder/a.xml");
}

TEST(Process, RejectsWithReasons) {
  ArticlePolicy policy = make_policy({}, nullptr);
  EXPECT_EQ(process_article("<html><body/></html>", "a", policy)[0].status, ArticleStatus::broken);
  EXPECT_EQ(process_article("<article/>", "a", policy)[0].reason, "no licence statement found");
  EXPECT_EQ(process_article(testing::article_xml(""), "a", policy)[0].reason, "no text");
  auto two = process_article(
      "<set>" + testing::article_xml("<p>a</p>") + testing::article_xml("<p>b</p>") + "</set>", "s.xml",
      policy);
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].source, "s.xml#2");
}

}  // namespace
}  // namespace bm
