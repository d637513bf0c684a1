// From XML to text: the rules of docs/corpus.md on small articles.
#include <gtest/gtest.h>

#include "corpus/article_helpers.h"

namespace bm {
namespace {

using testing::article_xml;
using testing::body_text;
using testing::text_of_xml;

TEST(WhiteSpace, InlineMarkupNeitherAddsNorRemovesIt) {
  EXPECT_EQ(body_text("<p><italic>N</italic> = 10</p>"), "N = 10");
  EXPECT_EQ(body_text("<p>a<bold>b</bold>c <italic>d</italic><bold>e</bold></p>"), "abc de");
  EXPECT_EQ(body_text("<p><italic>a</italic> <bold>b</bold></p>"), "a b");
  EXPECT_EQ(body_text("<p>one\n   two\tthree<italic> four</italic> </p>"), "one two three four");
  EXPECT_EQ(body_text("<p>3&#xA0;mm&#x2009;wide</p>"), "3 mm wide");
}

TEST(WhiteSpace, BlocksAlwaysBreak) {
  EXPECT_EQ(body_text("<p>a</p><p>b</p>"), "a\n\nb");
  EXPECT_EQ(body_text("<p>a<list><list-item><p>b</p></list-item></list>c</p>"), "a\n\n- b\n\nc");
  EXPECT_EQ(body_text("<p>a<disp-quote><p>b</p></disp-quote>c</p>"), "a\n\nb\n\nc");
  EXPECT_EQ(body_text("<p>a<break/>b</p>"), "a\nb");
  EXPECT_EQ(body_text("text right in the body<p>a</p>"), "text right in the body\n\na");
}

TEST(Sections, TitlesOnLinesOfTheirOwn) {
  const char* body =
      "<sec><label>2</label><title>Methods</title><sec><title>Patients "
      "<italic>in</italic><break/>detail</title><p>x</p></sec></sec>";
  EXPECT_EQ(body_text(body), "2 Methods\n\nPatients in detail\n\nx");
  TextOptions options;
  options.section_titles = "path";
  EXPECT_EQ(body_text(body, options), "2 Methods\n\nMethods > Patients in detail\n\nx");
  options.section_titles = "markdown";
  EXPECT_EQ(body_text(body, options), "## 2 Methods\n\n### Patients in detail\n\nx");
  options.section_titles = "drop";
  EXPECT_EQ(body_text(body, options), "x");
}

TEST(Sections, ATitleOfNothingGoes) {
  EXPECT_EQ(body_text("<sec><title>Supplements</title><supplementary-material><p>file</p></"
                      "supplementary-material></sec><p>x</p>"),
            "x");
  EXPECT_EQ(body_text("<sec><title>Only a title</title></sec>"), "Only a title");
}

struct ScriptCase {
  const char *xml, *text;
};
class Scripts : public ::testing::TestWithParam<ScriptCase> {};
TEST_P(Scripts, OneRule) {
  EXPECT_EQ(body_text("<p>" + std::string(GetParam().xml) + "</p>"), GetParam().text);
}
INSTANTIATE_TEST_SUITE_P(
    Text, Scripts,
    ::testing::Values(
        ScriptCase{"10<sup>4</sup> PFU", "10^4 PFU"}, ScriptCase{"10<sup>−3</sup>", "10^−3"},
        ScriptCase{"10<sup>-12</sup> M", "10^-12 M"}, ScriptCase{"1.73 m<sup>2</sup>", "1.73 m²"},
        ScriptCase{"H<sub>2</sub>O", "H₂O"}, ScriptCase{"Ca<sup>2+</sup>", "Ca²⁺"},
        ScriptCase{"SO<sub>4</sub><sup>2−</sup>", "SO₄²⁻"}, ScriptCase{"CD4<sup>+</sup> cells", "CD4⁺ cells"},
        ScriptCase{"<sup>14</sup>C", "¹⁴C"}, ScriptCase{"the <sup>18</sup>F scan", "the ¹⁸F scan"},
        ScriptCase{"cm<sup>−1</sup>", "cm⁻¹"}, ScriptCase{"V<sub>max</sub> is", "V_max is"},
        ScriptCase{"Na<sub>v</sub>1.7", "Na_(v)1.7"}, ScriptCase{"K<sub>m</sub>.", "K_m."},
        ScriptCase{"x<sub>i,j</sub>", "x_(i,j)"}, ScriptCase{"e<sup>−kt</sup>", "e^(−kt)"},
        ScriptCase{"2<sup>−ΔΔCt</sup>", "2^(−ΔΔCt)"}, ScriptCase{"1<sup>st</sup>", "1st"},
        ScriptCase{"Matrigel<sup>®</sup>", "Matrigel®"}, ScriptCase{"37<sup>°</sup>C", "37°C"},
        ScriptCase{"Rag1<sup>−/−</sup>", "Rag1⁻/⁻"}, ScriptCase{"x<sub>i</sub><sup>2</sup>", "x_i²"},
        ScriptCase{"d<sub>i</sub><sup>−</sup>", "d_i⁻"}, ScriptCase{"a<sup> 2</sup>", "a ²"},
        ScriptCase{"a<sup></sup>b", "ab"}, ScriptCase{"7%<sub>,</sub> x", "7%, x"}));

TEST(Citations, NumbersGoWithTheirBrackets) {
  auto cite = [](const std::string& n) { return "<xref ref-type=\"bibr\" rid=\"r\">" + n + "</xref>"; };
  EXPECT_EQ(body_text("<p>cells [" + cite("1") + "].</p>"), "cells.");
  EXPECT_EQ(body_text("<p>cells [" + cite("1") + "," + cite("2") + "–" + cite("5") + "] are</p>"),
            "cells are");
  EXPECT_EQ(body_text("<p>cells (" + cite("1") + " and " + cite("2") + ") are</p>"), "cells are");
  EXPECT_EQ(body_text("<p>cells [" + cite("9") + "], [" + cite("10") + "], [" + cite("11") + "]. Next</p>"),
            "cells. Next");
  EXPECT_EQ(body_text("<p>cells " + cite("[12]") + ", but</p>"), "cells, but");
  EXPECT_EQ(body_text("<p>cells.<sup>" + cite("1") + "," + cite("2") + "</sup> The</p>"), "cells. The");
  EXPECT_EQ(body_text("<p>cells." + cite("<sup>1</sup>") + " The</p>"), "cells. The");
  EXPECT_EQ(body_text("<p>cells" + cite("1") + "," + cite("2") + " are</p>"), "cells are");
  EXPECT_EQ(body_text("<p>cells. " + cite("7") + " The</p>"), "cells. The");
  EXPECT_EQ(body_text("<p>cells.[" + cite("7") + "]Among</p>"), "cells. Among");
  EXPECT_EQ(body_text("<p>(" + cite("[44]") + "; and data not shown)</p>"), "(and data not shown)");
  EXPECT_EQ(body_text("<p>(data not shown; " + cite("[44]") + ")</p>"), "(data not shown)");
  EXPECT_EQ(body_text("<p>Smith<sup>" + cite("1") + "</sup> and Jones<sup>" + cite("2") + "</sup> saw</p>"),
            "Smith and Jones saw");
}

TEST(Citations, WordsAndYearsStay) {
  auto cite = [](const std::string& n) { return "<xref ref-type=\"bibr\" rid=\"r\">" + n + "</xref>"; };
  EXPECT_EQ(body_text("<p>as " + cite("Smith et al., 2010") + " saw</p>"), "as Smith et al., 2010 saw");
  EXPECT_EQ(body_text("<p>Smith (" + cite("2010") + ") saw</p>"), "Smith (2010) saw");
  EXPECT_EQ(body_text("<p>see ref. " + cite("12") + " there</p>"), "see ref. 12 there");
  EXPECT_EQ(body_text("<p>(reviewed in ref. " + cite("12") + ")</p>"), "(reviewed in ref. 12)");
  EXPECT_EQ(body_text("<p>10<sup>4</sup> [" + cite("3") + "] m<sup>2</sup></p>"), "10^4 m²");
  EXPECT_EQ(body_text("<p>a<sup>b," + cite("1") + "</sup></p>"), "a^(b,1)");
}

TEST(Citations, Options) {
  const char* body =
      "<p>cells [<xref ref-type=\"bibr\">1</xref>] by <xref ref-type=\"bibr\">Smith 2010</xref> in <xref "
      "ref-type=\"fig\">Figure 1</xref>.</p>";
  TextOptions options;
  options.citations = "keep";
  EXPECT_EQ(body_text(body, options), "cells [1] by Smith 2010 in Figure 1.");
  options.citations = "drop";
  EXPECT_EQ(body_text(body, options), "cells by in Figure 1.");
  options.citations = "mark";
  EXPECT_EQ(body_text(body, options), "cells [REF] by [REF] in Figure 1.");
  options.cross_references = "drop";
  options.citations = "keep";
  EXPECT_EQ(body_text(body, options), "cells [1] by Smith 2010 in .");
}

TEST(Lists, MarkersLabelsAndNesting) {
  EXPECT_EQ(body_text("<list "
                      "list-type=\"order\"><list-item><p>a</p><p>b</p></list-item><list-item><p>c</p></"
                      "list-item></list>"),
            "1. a\nb\n2. c");
  EXPECT_EQ(body_text("<list "
                      "list-type=\"bullet\"><list-item><p>a</p><list><list-item><p>b</p></list-item></list></"
                      "list-item></list>"),
            "- a\n  - b");
  EXPECT_EQ(body_text("<list><list-item><label>(i)</label><p>a</p></list-item></list>"), "(i) a");
  EXPECT_EQ(body_text("<def-list><def-item><term>BMI</term><def><p>body mass "
                      "index</p></def></def-item><def-item><term>BP</term><def><p>blood</p><p>pressure</p></"
                      "def></def-item></def-list>"),
            "BMI: body mass index\nBP: blood\npressure");
}

TEST(Blocks, BoxesQuotesStatementsSpeech) {
  EXPECT_EQ(body_text("<p>x <boxed-text><label>Box 1</label><caption><title>Key "
                      "points</title></caption><p>one</p></boxed-text> y</p>"),
            "x\n\nBox 1\n\nKey points\n\none\n\ny");
  EXPECT_EQ(body_text("<disp-quote><p>q</p><attrib>A. Poet</attrib></disp-quote>"), "q\n\nA. Poet");
  EXPECT_EQ(body_text("<speech><speaker>Dr. Smith</speaker><p>Good morning.</p></speech>"),
            "Dr. Smith: Good morning.");
  EXPECT_EQ(body_text("<verse-group><verse-line>a</verse-line><verse-line>b</verse-line></verse-group>"),
            "a\nb");
  EXPECT_EQ(body_text("<preformat>int a;\n  int b;</preformat>"), "int a;\n  int b;");
}

const char* kFigure =
    "<p>before<fig><label>Figure 1</label><caption><title>The title</title><p>First. "
    "<italic>Second</italic>.</p></caption><alt-text>alt</alt-text><graphic/></fig> after</p>";

TEST(Floats, FiguresAfterTheirParagraph) {
  EXPECT_EQ(body_text(kFigure), "before after\n\nFigure 1. The title\nFirst. Second.");
  TextOptions options;
  options.figures = "drop";
  EXPECT_EQ(body_text(kFigure, options), "before after");
}

const char* kTable =
    "<table-wrap><label>Table 1</label><caption><p>Ages</p></caption><table><thead><tr><th>a</th><th "
    "colspan=\"2\">b</th></tr></thead>"
    "<tbody><tr><td "
    "rowspan=\"2\">x|y</td><td>1</td><td>m<sup>2</sup></td></tr><tr><td>3</td><td><p>4</p><p>5</p></td></"
    "tr></tbody></table>"
    "<table-wrap-foot><fn><p>note</p></fn></table-wrap-foot></table-wrap>";

TEST(Floats, Tables) {
  EXPECT_EQ(body_text(kTable), "Table 1. Ages");
  TextOptions options;
  options.tables = "drop";
  EXPECT_EQ(body_text(kTable, options), "");
  options.tables = "markdown";
  EXPECT_EQ(body_text(kTable, options),
            "Table 1. Ages\n\n| a | b |  |\n| --- | --- | --- |\n| x\\|y | 1 | m² |\n|  | 3 | 4 5 |");
  options.tables = "tsv";
  options.footnotes = "after";
  EXPECT_EQ(body_text(kTable, options), "Table 1. Ages\n\na\tb\t\nx|y\t1\tm²\n\t3\t4 5\n\nnote");
}

TEST(Footnotes, DroppedOrAfterTheParagraph) {
  const char* body =
      "<p>word<sup><xref ref-type=\"fn\">1</xref></sup><fn><label>1</label><p>the note</p></fn> goes on</p>";
  EXPECT_EQ(body_text(body), "word goes on");
  TextOptions options;
  options.footnotes = "after";
  EXPECT_EQ(body_text(body, options), "word¹ goes on\n\n1 the note");
}

TEST(Formulas, MathMLAsText) {
  auto math = [](const std::string& m) {
    return "<p>so <inline-formula><mml:math>" + m + "</mml:math></inline-formula> is</p>";
  };
  EXPECT_EQ(
      body_text(math(
          "<mml:mrow><mml:mi>x</mml:mi><mml:mo>=</mml:mo><mml:mfrac><mml:mrow><mml:mi>a</mml:mi><mml:mo>+</"
          "mml:mo><mml:mn>1</mml:mn></mml:mrow><mml:mi>b</mml:mi></mml:mfrac></mml:mrow>")),
      "so x = (a + 1)/b is");
  EXPECT_EQ(body_text(math("<mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup>")), "so x² is");
  EXPECT_EQ(body_text(math("<mml:msup><mml:mn>10</mml:mn><mml:mn>6</mml:mn></mml:msup>")), "so 10^6 is");
  EXPECT_EQ(body_text(math("<mml:msqrt><mml:mi>x</mml:mi></mml:msqrt>")), "so √(x) is");
  EXPECT_EQ(body_text(math("<mml:mover><mml:mi>x</mml:mi><mml:mo>¯</mml:mo></mml:mover>")), "so x\u0304 is");
  EXPECT_EQ(
      body_text(math("<mml:mfenced "
                     "separators=\"\"><mml:mi>a</mml:mi><mml:mo>+</mml:mo><mml:mi>b</mml:mi></mml:mfenced>")),
      "so (a+b) is");
}

TEST(Formulas, DisplayTeXAndPictures) {
  const char* tex =
      "<p>where "
      "<disp-formula><label>(1)</label><alternatives><tex-math>\\documentclass{x}\\begin{document}$$E = "
      "mc^2$$\\end{document}</tex-math><graphic/></alternatives></disp-formula> holds</p>";
  EXPECT_EQ(body_text(tex), "where\n\n$E = mc^2$ (1)\n\nholds");
  EXPECT_EQ(body_text("<p>a <inline-formula><inline-graphic/></inline-formula> b</p>"), "a [formula] b");
  TextOptions options;
  options.formulas = "mark";
  EXPECT_EQ(body_text(tex, options), "where\n\n[formula]\n\nholds");
  options.formulas = "drop";
  EXPECT_EQ(body_text("<p>a <inline-formula><tex-math>$x$</tex-math></inline-formula> b</p>", options),
            "a b");
}

TEST(Parts, TitleAbstractsBackAndSubArticles) {
  std::string meta =
      "<title-group><article-title>A "
      "<italic>title</italic></article-title><alt-title>short</alt-title><trans-title-group><trans-title>Un "
      "titre</trans-title></trans-title-group></title-group>"
      "<abstract><title>Abstract</title><p>In short.</p></abstract><trans-abstract xml:lang=\"fr\"><p>En "
      "bref.</p></trans-abstract><kwd-group><kwd>key</kwd></kwd-group>";
  std::string xml = article_xml("<p>Body.</p>", meta, "xml:lang=\"en\"");
  std::string back =
      "<back><ack><p>Thanks.</p></ack><app-group><app><title>Appendix "
      "A</title><p>More.</p></app></app-group><ref-list><ref><mixed-citation>Lit.</mixed-citation></ref></"
      "ref-list></back>"
      "<sub-article "
      "xml:lang=\"en\"><front-stub><title-group><article-title>Reply</article-title></title-group></"
      "front-stub><body><p>Yes.</p></body></sub-article>"
      "<sub-article article-type=\"translation\" xml:lang=\"fr\"><body><p>Oui.</p></body></sub-article>";
  xml.insert(xml.size() - 10, back);
  EXPECT_EQ(text_of_xml(xml),
            "A title\n\nAbstract\n\nIn short.\n\nEn bref.\n\nBody.\n\nAppendix A\n\nMore.\n\nReply\n\nYes.");
  TextOptions options;
  options.abstracts = "own-language";
  options.back_matter = "all";
  options.sub_articles = "drop";
  EXPECT_EQ(text_of_xml(xml, options),
            "A title\n\nAbstract\n\nIn short.\n\nBody.\n\nThanks.\n\nAppendix A\n\nMore.");
}

TEST(Hostile, DeepNestingIsAnErrorNotACrash) {
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "<bold>";
  deep += "x";
  for (int i = 0; i < 100000; ++i) deep += "</bold>";
  EXPECT_NE(body_text("<p>" + deep + "</p>").find("nested deeper"), std::string::npos);
}

TEST(Hostile, ControlCharactersNeverActAsMarks) {
  EXPECT_EQ(body_text("<p>a&#1;b&#2;c [&#5;1&#2;]</p>"), "abc [1]");
}

}  // namespace
}  // namespace bm
