// One self-contained page: no script, font or image from elsewhere; light and dark; prints on paper.
#include <fmt/format.h>

#include <algorithm>

#include "report/document.h"

namespace bm {
namespace {

constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--ink:#1d232b;--soft:#5a6573;--line:#d9dee5;--paper:#fff;--panel:#f5f7f9;--warn:#fdf3e1;--warn-line:#c77700;
--s0:#1f66c9;--s1:#c2500c;--s2:#1b7f4b;--s3:#8a3ea8}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#a0abb8;--line:#39424d;--paper:#14181d;--panel:#1c2229;--warn:#2e2615;--warn-line:#e0a030;
--s0:#6ea8fe;--s1:#ff9a57;--s2:#5fd093;--s3:#cf94e8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:30px;line-height:1.2;margin:0 0 4px}
h2{font-size:22px;margin:44px 0 12px;padding-top:14px;border-top:1px solid var(--line)}
h3{font-size:17px;margin:26px 0 8px}
p{margin:10px 0;max-width:72ch}
.subtitle{color:var(--soft);margin:0 0 20px}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;padding:0;margin:0 0 8px}
a{color:var(--s0)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:3px solid var(--s0);outline-offset:2px}
.skip{position:absolute;left:-999px}.skip:focus{left:12px;top:12px;background:var(--paper);padding:6px 10px;z-index:2}
ul.notes{padding-left:22px;max-width:76ch}ul.notes li{margin:6px 0}
ul.warning{background:var(--warn);border-left:4px solid var(--warn-line);padding:12px 16px 12px 34px;border-radius:4px}
.scroll{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;font-size:14.5px;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:0 0 6px;font-size:14.5px;caption-side:top}
th,td{padding:6px 12px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
thead th{border-bottom:2px solid var(--line);font-weight:600;vertical-align:bottom}
tbody th{font-weight:500}
.n{text-align:right;white-space:nowrap}
tr.quiet td,tr.quiet th{color:var(--soft);font-style:italic}
td.best{font-weight:700}
.note{color:var(--soft);font-size:14px;margin-top:2px}
figure{margin:16px 0;overflow-x:auto}figure svg{width:100%;height:auto;display:block}
figcaption{color:var(--soft);font-size:14px}
.row{display:flex;flex-wrap:wrap;gap:16px}.row figure{flex:0 1 270px;min-width:220px;margin:8px 0}
svg text{font:13px system-ui,"Liberation Sans",sans-serif;fill:var(--ink)}
svg .tick{fill:var(--soft)}svg .label{font-weight:600}
svg .grid{stroke:var(--line);stroke-width:1}svg .axis{stroke:var(--soft);stroke-width:1}
svg .line{fill:none;stroke-width:2.2;stroke-linejoin:round}
svg .line.s0{stroke:var(--s0)}svg .line.s1{stroke:var(--s1);stroke-dasharray:7 4}svg .line.s2{stroke:var(--s2);stroke-dasharray:2 4}svg .line.s3{stroke:var(--s3)}
svg .dot.s0{fill:var(--s0)}svg .dot.s1{fill:var(--s1)}svg .dot.s2{fill:var(--s2)}svg .dot.s3{fill:var(--s3)}
svg .bar{fill:var(--s0)}svg .whisker{stroke:var(--ink);stroke-width:1.4;fill:none}
svg .diagonal{stroke:var(--soft);stroke-width:1.3;stroke-dasharray:5 4}
details{margin:12px 0;border:1px solid var(--line);border-radius:6px;padding:4px 14px}
summary{cursor:pointer;padding:6px 0;font-weight:600}
pre{overflow-x:auto;background:var(--panel);padding:12px;border-radius:4px;font-size:13px;line-height:1.45}
.hash{font-family:ui-monospace,"Liberation Mono",monospace;font-size:12.5px;overflow-wrap:anywhere}
.heat td[style]{background:color-mix(in srgb,var(--s0) var(--v),transparent)}
.browse{display:flex;flex-wrap:wrap;gap:8px 16px;align-items:center;margin:10px 0}
.browse input[type=search],.browse select,.browse button{font:inherit;color:inherit;background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:4px 8px;max-width:100%}
.browse :focus-visible{outline:3px solid var(--s0);outline-offset:2px}
td.wrong{color:var(--s1)}td.right{color:var(--s2);font-weight:600}
@media (max-width:560px){figure>svg{min-width:560px}.row figure>svg{min-width:0}main{padding:18px 14px 40px}h1{font-size:24px}h2{font-size:19px}th,td{padding:5px 8px}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--panel:#f4f4f4;--warn:#f7f0e2;--warn-line:#8a5200;--s0:#1f66c9;--s1:#c2500c;--s2:#1b7f4b;--s3:#8a3ea8}
body{font-size:11pt}main{max-width:none;padding:0}nav,.skip,.browse{display:none}h2,h3{break-after:avoid}figure,table,.row figure{break-inside:avoid}.scroll{overflow:visible}
details{border:0;padding:0}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
)css";

std::string anchor(const std::string& text) {
  std::string out;
  for (char c : text) {
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      out += c;
    else if (c >= 'A' && c <= 'Z')
      out += static_cast<char>(c - 'A' + 'a');
    else if (!out.empty() && out.back() != '-')
      out += '-';
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out.empty() ? "section" : out;
}

bool is_hash(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string cell_html(const Cell& cell, const char* tag, const char* scope) {
  std::string classes = cell.number ? "n" : "";
  if (cell.best) classes += classes.empty() ? "best" : " best";
  std::string content =
      is_hash(cell.text) ? "<span class=\"hash\">" + cell.text + "</span>" : escape_html(cell.text);
  return fmt::format("<{}{}{}>{}</{}>", tag, scope, classes.empty() ? "" : " class=\"" + classes + "\"",
                     content, tag);
}

std::string table_html(const ReportTable& table) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                    escape_html(table.caption) + "\"><table>";
  if (!table.caption.empty()) out += "<caption>" + escape_html(table.caption) + "</caption>";
  if (!table.header.empty()) {
    out += "<thead><tr>";
    for (const Cell& cell : table.header) out += cell_html(cell, "th", " scope=\"col\"");
    out += "</tr></thead>";
  }
  out += "<tbody>";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    out += r + table.quiet_rows >= table.rows.size() ? "<tr class=\"quiet\">" : "<tr>";
    for (size_t c = 0; c < table.rows[r].size(); ++c)
      out += cell_html(table.rows[r][c], c == 0 ? "th" : "td", c == 0 ? " scope=\"row\"" : "");
    out += "</tr>\n";
  }
  out += "</tbody></table></div>";
  if (!table.note.empty()) out += "<p class=\"note\">" + escape_html(table.note) + "</p>";
  return out;
}

// The table of the values, each cell shaded by where it lies between low and high.
std::string heat_html(const HeatMap& map) {
  std::string out = "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
                    escape_html(map.caption) + "\"><table class=\"heat\"><caption>" +
                    escape_html(map.caption) + "</caption><thead><tr><th scope=\"col\">" +
                    escape_html(map.corner) + "</th>";
  for (const std::string& column : map.columns)
    out += "<th scope=\"col\" class=\"n\">" + escape_html(column) + "</th>";
  out += "</tr></thead><tbody>";
  for (size_t r = 0; r < map.rows.size(); ++r) {
    out += "<tr><th scope=\"row\">" + escape_html(map.rows[r]) + "</th>";
    for (const auto& value : map.values[r]) {
      if (!value) {
        out += "<td class=\"n\">–</td>";
        continue;
      }
      double place = map.high > map.low ? (*value - map.low) / (map.high - map.low) : 0;
      out += fmt::format("<td class=\"n\" style=\"--v:{:.0f}%\">{}</td>", 55 * std::clamp(place, 0.0, 1.0),
                         fixed_text(*value, 1));
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div><p class=\"note\">" + escape_html(map.note) + "</p>";
}

struct HtmlBlock {
  std::string operator()(const Heading& b) const {
    return fmt::format("<h{} id=\"{}\">{}</h{}>", b.level, anchor(b.text), escape_html(b.text), b.level);
  }
  std::string operator()(const Paragraph& b) const { return "<p>" + escape_html(b.text) + "</p>"; }
  std::string operator()(const BulletList& b) const {
    if (b.items.empty()) return {};
    std::string out = b.warning ? "<ul class=\"notes warning\">" : "<ul class=\"notes\">";
    for (const std::string& item : b.items) out += "<li>" + escape_html(item) + "</li>";
    return out + "</ul>";
  }
  std::string operator()(const ReportTable& b) const { return table_html(b); }
  std::string operator()(const HeatMap& b) const { return heat_html(b); }
  std::string operator()(const ItemBrowser& b) const { return browser_html(b); }
  std::string operator()(const Folded& b) const {
    return "<details><summary>" + escape_html(b.summary) + "</summary>" + table_html(b.table) + "</details>";
  }
  std::string operator()(const Listing& b) const {
    return "<details><summary>" + escape_html(b.summary) + "</summary><pre tabindex=\"0\">" +
           escape_html(b.text) + "</pre></details>";
  }
  std::string operator()(const LineChart& b) const { return figure(svg_of(b), b.title); }
  std::string operator()(const BarChart& b) const { return figure(svg_of(b), b.title); }
  std::string operator()(const ReliabilityRow& b) const {
    std::string out = "<div class=\"row\">";
    for (const Reliability& diagram : b.diagrams)
      out += figure(svg_of(diagram), "ECE " + fixed_text(100 * diagram.ece, 1) + " points");
    return out + "</div><p class=\"note\">" + escape_html(b.description) + "</p>";
  }
  static std::string figure(const std::string& svg, const std::string& caption) {
    return svg.empty() ? ""
                       : "<figure>" + svg + "<figcaption>" + escape_html(caption) + "</figcaption></figure>";
  }
};

}  // namespace

std::string render_html(const Document& document) {
  std::string body, links;
  for (const Block& block : document.blocks) {
    if (const auto* heading = std::get_if<Heading>(&block); heading && heading->level == 2)
      links +=
          fmt::format("<li><a href=\"#{}\">{}</a></li>", anchor(heading->text), escape_html(heading->text));
    body += std::visit(HtmlBlock{}, block) + "\n";
  }
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         escape_html(document.title) + "</title>\n<style>" + kStyle +
         "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n"
         "<main id=\"main\">\n<header><h1>" +
         escape_html(document.title) + "</h1>\n<p class=\"subtitle\">" + escape_html(document.subtitle) +
         "</p></header>\n<nav aria-label=\"Sections\"><ul>" + links + "</ul></nav>\n" + body +
         "</main>\n</body>\n</html>\n";
}

}  // namespace bm
