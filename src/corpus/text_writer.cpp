#include "corpus/text_writer.h"

#include <algorithm>
#include <array>

namespace bm {

namespace {

enum : unsigned char { kPlain, kSpace, kMaybeSpace, kControl, kPipe };

constexpr std::array<unsigned char, 256> make_classes() {
  std::array<unsigned char, 256> classes{};
  for (size_t c = 0; c < 0x20; ++c) classes[c] = kControl;
  for (char c : {' ', '\t', '\n', '\r'}) classes[static_cast<unsigned char>(c)] = kSpace;
  classes[0x7F] = kControl;
  classes['|'] = kPipe;
  classes[0xC2] = classes[0xE2] = classes[0xE3] = kMaybeSpace;
  return classes;
}
constexpr std::array<unsigned char, 256> kClasses = make_classes();

// Bytes of the Unicode space separator (no-break, thin, figure, ideographic, ...) at text[i]; 0 when it is
// none.
size_t unicode_space(std::string_view text, size_t i) {
  auto at = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  if (at(i) == 0xC2) return at(i + 1) == 0xA0 || at(i + 1) == 0x85 ? 2 : 0;
  if (at(i) == 0xE3) return at(i + 1) == 0x80 && at(i + 2) == 0x80 ? 3 : 0;
  if (at(i + 1) == 0x80)
    return (at(i + 2) >= 0x80 && at(i + 2) <= 0x8A) || at(i + 2) == 0xA8 || at(i + 2) == 0xA9 ||
                   at(i + 2) == 0xAF
               ? 3
               : 0;
  return at(i + 1) == 0x81 && at(i + 2) == 0x9F ? 3 : 0;
}

bool is_word_character(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
         (c >= 0xC3 && c != 0xE2);
}

}  // namespace

void TextWriter::land(const void* node, std::string_view rule, size_t begin) {
  if (trace_) trace_->landings.push_back({node, rule, begin, out_.size(), {}});
}

// Writes the break or space that is due before the next character.
void TextWriter::flush() {
  if (pending_break_ > 0) {
    if (!out_.empty()) {
      size_t have = 0;
      while (have < out_.size() && have < 2 && out_[out_.size() - 1 - have] == '\n') ++have;
      for (; have < static_cast<size_t>(pending_break_); ++have) out_ += '\n';
    }
    block_start_ = out_.size();
    bare_begin_ = bare_end_ = 0;
  } else if (pending_space_ && out_.size() > block_start_ && out_.back() != ' ' && out_.back() != '\t') {
    out_ += ' ';
  }
  pending_break_ = 0;
  pending_space_ = false;
  if (!prefix_.empty()) {
    out_ += prefix_;
    prefix_.clear();
  }
}

void TextWriter::text(std::string_view characters, const void* node, std::string_view rule) {
  size_t begin = std::string::npos, i = 0, n = characters.size();
  while (i < n) {
    size_t run = i;
    while (i < n) {
      unsigned char kind = kClasses[static_cast<unsigned char>(characters[i])];
      if (kind != kPlain && (kind != kPipe || escape_pipes_) &&
          (kind != kMaybeSpace || unicode_space(characters, i)))
        break;
      ++i;
    }
    if (i > run) {
      flush();
      bool script_opens = !marks_.empty() && marks_.back() == out_.size();  // it is marked itself
      if (bare_end_ == out_.size() && bare_end_ && !script_opens &&
          is_word_character(static_cast<unsigned char>(characters[run])))
        close_bare_script();
      if (begin == std::string::npos) begin = out_.size();
      out_.append(characters, run, i - run);
      continue;
    }
    unsigned char kind = kClasses[static_cast<unsigned char>(characters[i])];
    if (kind == kPipe) {
      flush();
      if (begin == std::string::npos) begin = out_.size();
      out_ += "\\|";
      ++i;
    } else if (kind == kControl) {
      ++i;
    } else {
      pending_space_ = true;
      i += kind == kSpace ? 1 : unicode_space(characters, i);
    }
  }
  if (trace_) land(node, rule, begin == std::string::npos ? out_.size() : begin);
}

void TextWriter::preserved(std::string_view characters, const void* node, std::string_view rule) {
  if (is_flat()) return text(characters, node, rule);
  size_t begin = std::string::npos;
  for (char c : characters) {
    if (kClasses[static_cast<unsigned char>(c)] == kControl) continue;
    bool line_end = c == '\n' || c == '\r';
    if (pending_break_ && line_end) continue;  // no empty lines at the beginning
    flush();
    if (begin == std::string::npos) begin = out_.size();
    out_ += line_end ? '\n' : c;
  }
  while (!out_.empty() && begin != std::string::npos && out_.size() > begin &&
         (out_.back() == '\n' || out_.back() == ' ')) {
    // A trailing line end comes back with the next break.
    out_.pop_back();
    pending_space_ = true;
  }
  if (trace_) land(node, rule, begin == std::string::npos ? out_.size() : begin);
}

void TextWriter::generated(std::string_view characters) {
  if (characters.empty()) return;
  flush();
  out_ += characters;
}

void TextWriter::line_break() {
  if (is_flat()) {
    pending_space_ = true;
    return;
  }
  finish_block();
  pending_space_ = false;
  pending_break_ = std::max(pending_break_, 1);
}

void TextWriter::block_break() {
  if (is_flat()) {
    pending_space_ = true;
    return;
  }
  finish_block();
  pending_space_ = false;
  pending_break_ = std::max(pending_break_, soft_ > 0 ? 1 : 2);
}

void TextWriter::finish_block() {
  if (has_citations_) {
    remove_citations();
    settle_marks();
    has_citations_ = false;
  }
  while (out_.size() > block_start_ && out_.back() == ' ') out_.pop_back();
  if (trace_)
    for (size_t i = trace_->landings.size(); i-- > 0 && trace_->landings[i].end > out_.size();) {
      trace_->landings[i].end = out_.size();
      trace_->landings[i].begin = std::min(trace_->landings[i].begin, out_.size());
    }
}

// Where what was written since the last mark begins, leading white space left aside.
size_t TextWriter::take_mark() {
  size_t start = std::min(marks_.back(), out_.size());
  marks_.pop_back();
  while (start < out_.size() && (out_[start] == ' ' || out_[start] == '\n')) ++start;
  return start;
}

TextWriter::State TextWriter::save() const {
  return {out_.size(),    trace_ ? trace_->landings.size() : 0,
          block_start_,   pending_break_,
          pending_space_, has_citations_,
          prefix_};
}

void TextWriter::roll_back(const State& state, std::string_view rule) {
  out_.resize(state.size);
  block_start_ = state.block_start;
  pending_break_ = state.pending_break;
  pending_space_ = state.pending_space;
  has_citations_ = state.has_citations;
  prefix_ = state.prefix;
  bare_begin_ = bare_end_ = 0;
  if (!trace_) return;
  for (size_t i = state.landings; i < trace_->landings.size(); ++i)
    trace_->dropped.push_back({trace_->landings[i].node, rule});
  trace_->landings.resize(state.landings);
}

std::string TextWriter::finish() {
  finish_block();
  pending_break_ = 0;
  pending_space_ = false;
  while (!out_.empty() && out_.back() == '\n') out_.pop_back();
  return std::move(out_);
}

// ---- edits: what was written before is changed, and the audit's places follow ----

void TextWriter::apply(const std::vector<Edit>& edits) {
  if (edits.empty()) return;
  std::string old_text;
  if (trace_) old_text = out_;
  std::string tail = out_.substr(edits.front().at);
  size_t offset = edits.front().at, position = offset;
  out_.resize(offset);
  for (const Edit& edit : edits) {
    out_.append(tail, position - offset, edit.at - position);
    out_ += edit.replacement;
    position = edit.at + edit.length;
  }
  out_.append(tail, position - offset);
  for (size_t& mark : marks_) {
    size_t now = mark;
    for (const Edit& edit : edits)
      if (edit.at + edit.length <= mark && edit.at < mark) now = now - edit.length + edit.replacement.size();
    mark = now;
  }
  if (trace_) trace_edits(edits, old_text);
}

void TextWriter::trace_edits(const std::vector<Edit>& edits, const std::string& old_text) {
  // Insertions at a landing's beginning stand before it, those at its end after it.
  auto moved = [&](size_t position, bool is_begin) {
    size_t now = position;
    for (const Edit& edit : edits) {
      if (edit.at > position || (edit.at == position && !(edit.length == 0 && is_begin))) break;
      if (edit.at + edit.length <= position) {
        now = now - edit.length + edit.replacement.size();
      } else {
        now = now - (position - edit.at) + std::min(position - edit.at, edit.replacement.size());
        break;
      }
    }
    return now;
  };
  for (size_t i = trace_->landings.size(); i-- > 0;) {
    Landing& landing = trace_->landings[i];
    if (landing.end < edits.front().at) break;
    size_t begin = moved(landing.begin, true), end = std::max(begin, moved(landing.end, false));
    for (Cut& cut : landing.cuts) cut.at = moved(landing.begin + cut.at, true) - begin;
    for (const Edit& edit : edits) {
      if (edit.rule.empty()) continue;
      size_t from = std::max(edit.at, landing.begin), to = std::min(edit.at + edit.length, landing.end);
      if (from >= to) continue;
      size_t at = moved(from, false);
      landing.cuts.push_back({at > begin ? at - begin : 0, old_text.substr(from, to - from), edit.rule});
    }
    landing.begin = begin;
    landing.end = end;
  }
}

// ---- superscripts and subscripts ----

void TextWriter::close_bare_script() {
  std::vector<Edit> edits;
  edits.push_back({bare_begin_, 0, "(", {}});
  edits.push_back({bare_end_, 0, ")", {}});
  // Marks right behind the script stay behind its bracket.
  size_t behind = marks_.size();
  while (behind > 0 && marks_[behind - 1] == bare_end_) --behind;
  bare_begin_ = bare_end_ = 0;
  apply(edits);
  for (size_t i = behind; i < marks_.size(); ++i) ++marks_[i];
}

void TextWriter::finish_script(bool superscript) {
  size_t start = take_mark();
  if (start >= out_.size()) return;
  if (superscript && has_citations_ &&
      out_.find_first_of(std::string_view("\x01\x05", 2), start) != std::string::npos) {
    std::vector<Edit> edits;
    edits.push_back({start, 0, std::string(1, kRaisedOpen), {}});
    edits.push_back({out_.size(), 0, std::string(1, kRaisedClose), {}});
    apply(edits);
    return;
  }
  script(start, out_.size(), superscript);
}

void TextWriter::script(size_t start, size_t end, bool superscript) {
  std::string content = out_.substr(start, end - start);
  size_t base_from = start > 8 ? start - 8 : 0;
  bool apart = start == block_start_ || out_[start - 1] == ' ' || out_[start - 1] == '\n';
  std::string base = apart ? std::string() : out_.substr(base_from, start - base_from);
  ScriptForm form = script_form(base, content, superscript);
  bool at_end = end == out_.size();
  bare_begin_ = bare_end_ = 0;
  std::vector<Edit> edits;
  if (form == ScriptForm::unicode) {
    for (size_t i = start; i < end;) {
      size_t length = static_cast<unsigned char>(out_[i]) >= 0xE0   ? 3
                      : static_cast<unsigned char>(out_[i]) >= 0xC2 ? 2
                                                                    : 1;
      length = std::min(length, end - i);
      std::string_view mapped = script_character(std::string_view(out_).substr(i, length), superscript);
      if (!mapped.empty()) edits.push_back({i, length, std::string(mapped), {}});
      i += length;
    }
    apply(edits);
    return;
  }
  if (form == ScriptForm::plain) return;
  bool brackets = form == ScriptForm::bracketed;
  edits.push_back({start, 0, std::string(superscript ? "^" : "_") + (brackets ? "(" : ""), {}});
  if (brackets) edits.push_back({end, 0, ")", {}});
  apply(edits);
  if (!brackets && at_end) {
    bare_begin_ = start + 1;
    bare_end_ = out_.size();
  }
}

}  // namespace bm
