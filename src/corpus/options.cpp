#include "corpus/options.h"

#include "corpus/licence.h"
#include "corpus/quality.h"

namespace bm {

void describe(Fields& f, TextOptions& o) {
  f.add("section-titles", o.section_titles,
        "section titles: on lines of their own, with their path, as Markdown headings, or left out",
        {.choices = {"plain", "path", "markdown", "drop"}});
  f.add("citations", o.citations,
        "literature citations: take out numbers with their brackets, keep all, take out all, or write [REF]",
        {.choices = {"drop-numbers", "keep", "drop", "mark"}});
  f.add("cross-references", o.cross_references, "references to figures, tables, sections",
        {.choices = {"keep", "drop"}});
  f.add("figures", o.figures, "figures: label and caption, or nothing", {.choices = {"caption", "drop"}});
  f.add("tables", o.tables, "tables: label and caption, nothing, or with their cells",
        {.choices = {"caption", "drop", "markdown", "tsv"}});
  f.add("footnotes", o.footnotes, "footnotes: left out, or after the paragraph that calls them",
        {.choices = {"drop", "after"}});
  f.add("formulas", o.formulas,
        "formulas: MathML as text (else TeX), TeX (else text), the mark [formula], or nothing",
        {.choices = {"text", "tex", "mark", "drop"}});
  f.add("supplements", o.supplements, "supplementary material: left out, or label and caption",
        {.choices = {"drop", "caption"}});
  f.add("back-matter", o.back_matter,
        "after the body: appendices and glossaries, nothing, or all but the literature list",
        {.choices = {"appendices", "drop", "all"}});
  f.add("abstracts", o.abstracts, "abstracts: all, those in the article's language, or none",
        {.choices = {"all", "own-language", "drop"}});
  f.add("sub-articles", o.sub_articles, "reviews, replies and translations inside an article's file",
        {.choices = {"own-language", "keep", "drop"}});
}

void describe_selection(Fields& f, CorpusOptions& o) {
  f.add("licenses", o.licenses,
        "licences to keep: cc0, by, by-sa, by-nd, pd (public domain), by-nc, by-nc-sa, by-nc-nd, custom, "
        "none, unknown");
  f.add("file-list", o.file_lists,
        "NLM's lists of licences (oa_file_list, oa_comm_xml.….filelist; CSV or TXT), held against the "
        "articles' own words; repeatable",
        {.unit = "path", .result_neutral = true});
  f.add("duplicates", o.duplicates,
        "what is dropped: near-duplicates too, articles of the same text or id only, or nothing (default: "
        "near; "
        "exact in as-published)",
        {.choices = {"near", "exact", "keep"}});
  f.add("keep-member", o.keep_member, "which of several duplicates stays: the first in order, or the longest",
        {.choices = {"first", "longest"}});
  f.add("near-min-words", o.near_min_words, "shorter articles are not compared as near-duplicates",
        {.unit = "words"});
  f.add("min-words", o.min_words, "articles of fewer words are rejected", {.unit = "words"});
  f.add("languages", o.languages, "languages to keep, e.g. en,fr (default: all)");
  f.add("filters", o.filters,
        "rules an article's text must pass: gopher (all of them), or words, word-length, symbols, bullets, "
        "ellipses, letters, stop-words, repeated-lines, repeated-paragraphs, repeated-words");
  f.add("max-article-size", o.max_article_size, "larger files are refused as broken",
        {.unit = "size, e.g. 256M"});
}

void describe_decontamination(Fields& f, CorpusOptions& o) {
  f.add("decontaminate", o.decontaminate,
        "benchmarks whose questions are looked for in the articles: tasks, groups or files as evaluate takes "
        "them; all = those whose files are there");
  f.add("benchmark-data", o.benchmark_data, "folder of the benchmarks' published files",
        {.unit = "path", .result_neutral = true});
  f.add("benchmark-languages", o.benchmark_languages, "languages of the benchmarks (default: English)");
  f.add("decontamination-words", o.decontamination_words,
        "so many words in a row shared with an item give it away", {.unit = "words"});
  f.add("contaminated", o.contaminated,
        "articles that hold items: dropped, or kept and only reported (default: drop; keep in as-published)",
        {.choices = {"drop", "keep"}});
}

void describe(Fields& f, CorpusOptions& o) {
  f.add("tokenizer", o.tokenizer, "model folder, tokenizer.json or tokenizer.model",
        {.unit = "path", .result_neutral = true});
  describe(f, o.text);
  describe_selection(f, o);
  describe_decontamination(f, o);
  f.add("sequence-length", o.sequence_length, "length of the blocks that pieces are packed into",
        {.unit = "tokens"});
  f.add("piece-words", o.piece_words, "an article is cut in pieces of this many words; 0 = one piece",
        {.unit = "words"});
  f.add("packing", o.packing,
        "a sequence is a piece of an article, a whole article, or what fills blocks best (articles cut only "
        "where they are longer than a block)",
        {.choices = {"pieces", "documents", "best-fit"}});
  f.add("split-on-spaces", o.split_on_spaces,
        "pieces: words are separated by single spaces only (default: only in as-published)");
  f.add("parse-special", o.parse_special,
        "special strings in the text become control tokens (default: only in as-published)");
  f.add("holdout", o.holdout, "share of articles kept out of the tokens, in heldout.jsonl", {.unit = "0..1"});
  f.add("holdout-articles", o.holdout_articles, "the same as a number of articles", {.unit = "articles"});
  f.add("articles-per-file", o.articles_per_file, "articles in one articles-*.jsonl.zst",
        {.unit = "articles"});
}

Result<CorpusSwitches> resolve_switches(const CorpusOptions& options, const CommonOptions& common) {
  BM_TRY(Mode mode, common.parsed_mode());
  bool published = mode == Mode::as_published;
  CorpusSwitches switches;
  switches.split_on_spaces = options.split_on_spaces.value_or(published);
  switches.parse_special = options.parse_special.value_or(published);
  std::string duplicates = options.duplicates.value_or(published ? "exact" : "near");
  switches.drop_exact = duplicates != "keep";
  switches.drop_near = duplicates == "near";
  switches.drop_contaminated = options.contaminated.value_or(published ? "keep" : "drop") == "drop";
  return switches;
}

int64_t piece_words_of(const CorpusOptions& options) {
  return options.packing == "pieces" ? options.piece_words : 0;
}

Status check_options(const CorpusOptions& o) {
  if (o.sequence_length < 2)
    return bad_input("--sequence-length is " + std::to_string(o.sequence_length),
                     "A block holds at least 2 tokens.");
  if (o.piece_words < 0) return bad_input("--piece-words is negative", "Use 0 for one piece an article.");
  if (!(o.holdout >= 0 && o.holdout < 1))
    return bad_input("--holdout is a share", "Give a number from 0 up to, not including, 1.");
  if (o.holdout_articles < 0) return bad_input("--holdout-articles is negative");
  if (o.holdout > 0 && o.holdout_articles > 0)
    return bad_input("--holdout and --holdout-articles are two ways to say the same", "Give one of them.");
  if (o.articles_per_file < 1) return bad_input("--articles-per-file must be at least 1");
  if (o.min_words < 0) return bad_input("--min-words is negative");
  if (o.near_min_words < 0) return bad_input("--near-min-words is negative");
  if (o.decontamination_words < 4)
    return bad_input("--decontamination-words is " + std::to_string(o.decontamination_words),
                     "Fewer than 4 words in a row are met everywhere; 13 is usual.");
  if (!o.benchmark_data.empty() && o.decontaminate.empty())
    return bad_input("--benchmark-data without --decontaminate",
                     "Say which benchmarks, e.g. --decontaminate all.");
  BM_TRY([[maybe_unused]] auto rules, expand_quality_rules(o.filters));
  if (o.max_article_size.bytes < 1024) return bad_input("--max-article-size is below 1K");
  for (const std::string& licence : o.licenses)
    if (!parse_licence_kind(licence))
      return bad_input("--licenses: \"" + licence + "\" is none",
                       "Known: cc0, by, by-sa, by-nd, pd, by-nc, by-nc-sa, by-nc-nd, custom, none, unknown.");
  return {};
}

}  // namespace bm
