// The plain text of an article as it grows, and, for an audit, where every text node of the XML ended.
//
// White space: runs become one space; a space is written only between characters of one block, so
// inline elements never add or remove one, and blocks never keep one at their ends. Block breaks become
// a blank line, line breaks a line end.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bm {

// Where a text node went. `rule` names it: "paragraph", "title", "citation", "table cells", ...
struct Cut {
  size_t at = 0;     // where in the landed text it stood, bytes from its beginning
  std::string text;  // what was taken out
  std::string_view rule;
};
struct Landing {
  const void* node = nullptr;
  std::string_view rule;
  size_t begin = 0, end = 0;  // bytes in the text
  std::vector<Cut> cuts;
};
struct Dropped {
  const void* node = nullptr;
  std::string_view rule;
};
struct Trace {
  std::vector<Landing> landings;
  std::vector<Dropped> dropped;
};

class TextWriter {
 public:
  explicit TextWriter(Trace* trace) : trace_(trace) {}

  // Characters of a text node under the white-space rule above.
  void text(std::string_view characters, const void* node, std::string_view rule);
  // As they are, line ends too (program code).
  void preserved(std::string_view characters, const void* node, std::string_view rule);
  // Text of our own ("- ", "| ", "Figure 1" + "."), at the place where text would go now.
  void generated(std::string_view characters);
  // The same, but only right before the next text that is written; forgotten by clear_prefix().
  void prefix(std::string characters) { prefix_ = std::move(characters); }
  void clear_prefix() { prefix_.clear(); }
  void space() { pending_space_ = true; }
  void no_space() { pending_space_ = false; }
  void line_break();
  void block_break();

  // While flat, breaks are spaces (titles, table cells). While soft, block breaks are line ends (captions,
  // items).
  void flat(int change) { flat_ += change; }
  void soft(int change) { soft_ += change; }
  bool is_flat() const { return flat_ > 0; }
  void escape_pipes(bool on) { escape_pipes_ = on; }

  size_t size() const { return out_.size(); }
  std::string_view written() const { return out_; }
  // Remembers the present place until the matching finish_script or finish_citation; they nest.
  void open_mark() { marks_.push_back(out_.size()); }
  // Turns what was written since the mark into a superscript or subscript (scripts.cpp).
  void finish_script(bool superscript);
  // Marks what was written since as a citation that finish_block may take out (citations.cpp).
  void finish_citation(bool self_contained);
  void set_citation_mark(std::string mark) { citation_mark_ = std::move(mark); }

  struct State {
    size_t size, landings, block_start;
    int pending_break;
    bool pending_space, has_citations;
    std::string prefix;
  };
  State save() const;
  // Takes back what was written since; the landings of it become drops under `rule`.
  void roll_back(const State& state, std::string_view rule);

  std::string finish();

 private:
  struct Edit {
    size_t at = 0, length = 0;
    std::string replacement;
    std::string_view rule;  // for an audit, of what is taken out; "" when it is no source text
  };
  void flush();
  void finish_block();
  void remove_citations();
  void settle_marks();
  void apply(const std::vector<Edit>& edits);
  void trace_edits(const std::vector<Edit>& edits, const std::string& old_text);
  void land(const void* node, std::string_view rule, size_t begin);
  void script(size_t start, size_t end, bool superscript);
  void close_bare_script();
  size_t take_mark();

  std::string out_;
  std::string prefix_;
  std::string citation_mark_;
  Trace* trace_;
  std::vector<size_t> marks_;
  size_t block_start_ = 0;
  size_t bare_begin_ = 0, bare_end_ = 0;  // last script without brackets; 0, 0 = none
  int pending_break_ = 0;                 // line ends wanted: 0, 1 or 2
  int flat_ = 0, soft_ = 0;
  bool pending_space_ = false;
  bool has_citations_ = false;
  bool escape_pipes_ = false;
};

// What stands for an element inside a text node's run while a block is open; no XML document can hold
// these characters.
inline constexpr char kCitationOpen = '\x01';  // a citation that goes only with its brackets
inline constexpr char kCitationClose = '\x02';
inline constexpr char kRaisedOpen = '\x03';  // a superscript that holds citations
inline constexpr char kRaisedClose = '\x04';
inline constexpr char kCitationOpenSelf = '\x05';  // a citation that brings its own brackets or is raised

// How a script is written (docs/corpus.md): plain, Unicode characters, or ^x _x ^(…) _(…).
enum class ScriptForm : uint8_t { plain, unicode, bare, bracketed };
ScriptForm script_form(std::string_view base, std::string_view content, bool superscript);
// The superscript or subscript character of one ASCII character or minus sign; "" when there is none.
std::string_view script_character(std::string_view character, bool superscript);

}  // namespace bm
