#include "corpus/licence.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "corpus/article_helpers.h"
#include "paths.h"

namespace bm {
namespace {

Licence classify(const std::string& permissions, const LicenceLists* lists = nullptr,
                 const std::string& pmcid = "") {
  auto tree = parse_xml("<article xmlns:xlink=\"x\" xmlns:ali=\"a\"><front><article-meta>" + permissions +
                        "</article-meta></front></article>");
  EXPECT_TRUE(tree.ok());
  return classify_licence(find_articles((*tree)->document)[0], pmcid, lists);
}

struct AddressCase {
  const char *address, *name;
};
class Address : public ::testing::TestWithParam<AddressCase> {};
TEST_P(Address, Reads) {
  LicenceEvidence evidence = read_licence_address(GetParam().address);
  EXPECT_EQ(licence_name(evidence.kind, evidence.version), GetParam().name);
}
INSTANTIATE_TEST_SUITE_P(
    Licence, Address,
    ::testing::Values(
        AddressCase{"http://creativecommons.org/licenses/by/4.0/", "CC BY 4.0"},
        AddressCase{"https://creativecommons.org/licenses/BY-SA/4.0", "CC BY-SA 4.0"},
        AddressCase{"https://creativecommons.org/licenses/by/3.0/igo/", "CC BY 3.0 IGO"},
        AddressCase{"http://creativecommons.org/licenses/by/2.0/uk/", "CC BY 2.0 UK"},
        AddressCase{"http://creativecommons.org/licenses/CC BY-NC/4.0", "CC BY-NC 4.0"},
        AddressCase{"http://creativecommons.org/licenses/CC-BY/4.0", "CC BY 4.0"},
        AddressCase{"http://creativecommons.org/licenses/by-ncnd/4.0/", "CC BY-NC-ND 4.0"},
        AddressCase{"http://creativecommons.org/licenses/by-n/4.0/", "unknown"},
        AddressCase{"https://creativecommons.org/publicdomain/zero/1.0/", "CC0 1.0"},
        AddressCase{"https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode", "CC BY-NC-SA 4.0"},
        AddressCase{"http://pubs.acs.org/page/policy/authorchoice_ccbyncnd_termsofuse.html", "CC BY-NC-ND"},
        AddressCase{"https://example.org/by/4.0/", "unknown"}));

struct WordsCase {
  const char *words, *name;
};
class Words : public ::testing::TestWithParam<WordsCase> {};
TEST_P(Words, Reads) {
  LicenceEvidence evidence = read_licence_words(GetParam().words);
  EXPECT_EQ(licence_name(evidence.kind, evidence.version), GetParam().name);
}
INSTANTIATE_TEST_SUITE_P(
    Licence, Words,
    ::testing::Values(
        WordsCase{"This is an open access article distributed under the terms of the Creative Commons "
                  "Attribution License, which permits unrestricted use",
                  "CC BY"},
        WordsCase{"distributed under the Creative Commons Attribution 4.0 International License",
                  "CC BY 4.0"},
        WordsCase{"the Creative Commons Attribution‐NoDerivatives License 4.0, which allows for "
                  "redistribution, commercial and noncommercial, as long as",
                  "CC BY-ND 4.0"},
        WordsCase{"Creative Commons Attribution-Noncommercial-Share Alike 3.0 Unported, which permits "
                  "unrestricted use",
                  "CC BY-NC-SA 3.0"},
        WordsCase{
            "under a Creative Commons Non-Commercial No Derivative Works (CC-BY-NC-ND) Attribution License",
            "CC BY-NC-ND"},
        WordsCase{"Creative Commons Attribution license, which permits use so long as the resultant use is "
                  "not for commercial advantage",
                  "CC BY-NC"},
        WordsCase{"licensed under the Creative Commons Attribution 3.0 Unported License for any purpose, "
                  "commercial and non-commercial",
                  "CC BY 3.0"},
        WordsCase{"The work is made available under the Creative Commons CC0 public domain dedication.",
                  "CC0"},
        WordsCase{
            "the Creative Commons Attribution License (x). The Creative Commons Public Domain Dedication "
            "waiver (http://creativecommons.org/publicdomain/zero/1.0/) applies to the data made available "
            "in this article, unless otherwise stated.",
            "CC BY"},
        WordsCase{"This work is written by US Government employees and is in the public domain in the US.",
                  "public domain"},
        WordsCase{
            "verbatim copying and redistribution of this article are permitted in all media for any purpose",
            "custom"},
        WordsCase{"distributed under the terms of the Public Library of Science Open-Access License",
                  "CC BY"},
        WordsCase{"creativeCommonsBy-nc", "CC BY-NC"},
        WordsCase{"Licencia Creative Commons Atribución 4.0 Internacional, sin fines comerciales",
                  "CC BY-NC 4.0"},
        WordsCase{"© 2012 The Authors", "unknown"}));

TEST(Evidence, OrderAndPlace) {
  Licence licence = classify(
      "<permissions><license xlink:href=\"http://creativecommons.org/licenses/by/4.0/\"><license-p>See "
      "<ext-link "
      "xlink:href=\"http://creativecommons.org/licenses/by/3.0/\">it</ext-link></license-p></license></"
      "permissions>");
  EXPECT_EQ(licence.name(), "CC BY 4.0");
  EXPECT_EQ(licence.evidence.where, "license/@xlink:href");
  EXPECT_TRUE(licence.conflict.empty());
  EXPECT_EQ(classify("<permissions><ali:free_to_read/><license><ali:license_ref>https://creativecommons.org/"
                     "licenses/by-nd/4.0/</ali:license_ref></license></permissions>")
                .evidence.where,
            "license/ali:license_ref");
  EXPECT_EQ(classify("<permissions><license><license-p>At <ext-link "
                     "xlink:href=\"http://creativecommons.org/licenses/by/3.0/\">it</ext-link></license-p></"
                     "license></permissions>")
                .evidence.where,
            "license-p/ext-link/@xlink:href");
  EXPECT_EQ(classify("<permissions><license license-type=\"cc-by-nc\"><license-p>Open "
                     "access.</license-p></license></permissions>")
                .name(),
            "CC BY-NC");
  Licence old = classify(
      "<copyright-statement>A et al. This is distributed under the terms of the Creative Commons Attribution "
      "License</copyright-statement>");
  EXPECT_EQ(old.name(), "CC BY");
  EXPECT_EQ(old.evidence.where, "copyright-statement");
}

TEST(Evidence, TheNarrowerOfTwoStatements) {
  Licence licence = classify(
      "<permissions><license xlink:href=\"http://creativecommons.org/licenses/by/3.0/\"><license-p>Creative "
      "Commons Attribution-NonCommercial 3.0 Unported License</license-p></license></permissions>");
  EXPECT_EQ(licence.kind, LicenceKind::by_nc);
  EXPECT_EQ(licence.conflict, "license/@xlink:href says CC BY 3.0, license text says CC BY-NC 3.0");
  EXPECT_EQ(classify("<permissions><license "
                     "xlink:href=\"http://creativecommons.org/licenses/by-sa/4.0/\"><license-p>Creative "
                     "Commons Attribution-NoDerivatives 4.0</license-p></license></permissions>")
                .kind,
            LicenceKind::unknown);
}

TEST(Evidence, NothingAndFigures) {
  EXPECT_EQ(classify("").kind, LicenceKind::none);
  EXPECT_EQ(
      classify("<permissions><copyright-statement>© 2012 The Authors</copyright-statement></permissions>")
          .kind,
      LicenceKind::none);
  EXPECT_EQ(classify("<permissions><license><license-p>This is an open access "
                     "article.</license-p></license></permissions>")
                .kind,
            LicenceKind::unknown);
  auto tree = parse_xml(
      "<article xmlns:xlink=\"x\"><front><article-meta/></front><body><fig><permissions><license "
      "xlink:href=\"http://creativecommons.org/licenses/by/4.0/\"/></permissions></fig></body></article>");
  ASSERT_TRUE(tree.ok());
  EXPECT_EQ(classify_licence(find_articles((*tree)->document)[0], "", nullptr).kind, LicenceKind::none);
}

TEST(FileLists, FallBackAndConflict) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomic(folder.file("list.csv"),
                                "File,Article Citation,Accession ID,Last Updated,PMID,License\n"
                                "a.tar.gz,\"Cit, with comma\",PMC1,2019,5,CC BY\nb.tar.gz,Cit,PMC2,2019,6,CC "
                                "BY-NC\nc.tar.gz,Cit,PMC3,2019,7,NO-CC CODE\n")
                  .ok());
  LicenceLists lists;
  ASSERT_TRUE(lists.add(folder.file("list.csv")).ok());
  EXPECT_EQ(lists.size(), 3u);
  EXPECT_EQ(classify("", &lists, "PMC1").name(), "CC BY");
  EXPECT_EQ(classify("", &lists, "PMC1").evidence.where, "file list");
  EXPECT_EQ(classify("", &lists, "PMC3").kind, LicenceKind::custom);
  Licence conflict = classify(
      "<permissions><license xlink:href=\"http://creativecommons.org/licenses/by/4.0/\"/></permissions>",
      &lists, "PMC2");
  EXPECT_EQ(conflict.kind, LicenceKind::by_nc);
  EXPECT_FALSE(conflict.conflict.empty());
  ASSERT_TRUE(write_file_atomic(folder.file("no.csv"), "hello\n").ok());
  EXPECT_FALSE(lists.add(folder.file("no.csv")).ok());
}

// The bulk packages' own lists: the file's folder also begins with "PMC", a column says what was retracted.
TEST(Licence, PackageListsAndDisagreements) {
  testing::TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomic(folder.file("oa_comm.filelist.csv"),
                                "Article File,Article Citation,AccessionID,LastUpdated,PMID,License,Retracted\n"
                                "PMC005xxxxxx/PMC5000001.xml,\"J, 1\",PMC5000001,2024-01-01,1,CC BY,no\n"
                                "PMC005xxxxxx/PMC5000002.xml,J,PMC5000002,2024-01-01,2,CC BY-NC,yes\n"
                                "PMC005xxxxxx/PMC5000003.xml,J,PMC5000003,2024-01-01,3,NO-CC CODE,no\n")
                  .ok());
  ASSERT_TRUE(write_file_atomic(folder.file("list.txt"),
                                "2024-06-01\noa_package/a/PMC5000004.tar.gz\tJ 2\tPMC5000004\tPMID:4\tCC0\n"
                                "oa_package/a/PMC5000001.tar.gz\tJ\tPMC5000001\tPMID:1\tCC BY-ND\n")
                  .ok());
  LicenceLists lists;
  ASSERT_TRUE(lists.add(folder.file("oa_comm.filelist.csv")).ok());
  ASSERT_TRUE(lists.add(folder.file("list.txt")).ok());
  EXPECT_FALSE(lists.find("PMC5").has_value());
  EXPECT_EQ(lists.find("PMC5000001")->kind, LicenceKind::by_nd);  // the narrower of two lines
  EXPECT_TRUE(lists.find("PMC5000002")->retracted);
  EXPECT_FALSE(lists.find("PMC5000003")->retracted);
  EXPECT_EQ(lists.find("PMC5000004")->kind, LicenceKind::cc0);
  const std::string by = "<license xlink:href=\"https://creativecommons.org/licenses/by/4.0/\"/>";
  Licence narrower = classify(by, &lists, "PMC5000002");
  EXPECT_EQ(narrower.kind, LicenceKind::by_nc);
  EXPECT_NE(narrower.conflict.find("file list says CC BY-NC"), std::string::npos);
  Licence uncoded = classify(by, &lists, "PMC5000003");
  EXPECT_EQ(uncoded.name(), "CC BY 4.0");
  EXPECT_NE(uncoded.conflict.find("NO-CC CODE"), std::string::npos);
  EXPECT_EQ(classify(by, &lists, "PMC5000009").conflict, "");
}

}  // namespace
}  // namespace bm
