// A report as blocks, independent of the format it is written in. Text is plain: every renderer escapes it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace bm {

struct Cell {
  std::string text;
  bool number = false;  // right-aligned
  bool best = false;    // bold
};

struct ReportTable {
  std::string caption;
  std::vector<Cell> header;
  std::vector<std::vector<Cell>> rows;
  std::string note;       // below the table
  size_t quiet_rows = 0;  // that many rows at the end are set apart (chance level)
};

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;
  bool dots = false;  // marks at the points, for sparse series
};

struct LineChart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  std::string description;  // what a reader who cannot see it must know
};

// One reliability diagram: confidence bins with the share that was right.
struct Reliability {
  struct Bin {
    double low = 0, high = 0, count = 0, accuracy = 0, confidence = 0;
  };
  std::string title;  // model
  std::vector<Bin> bins;
  double ece = 0;
};
struct ReliabilityRow {
  std::string description;
  std::vector<Reliability> diagrams;
};

// Horizontal bars with an optional interval each and a line at a reference value (chance, the original).
struct BarChart {
  struct Bar {
    std::string label, value_text;
    double value = 0;
    std::optional<std::pair<double, double>> interval;
  };
  std::string title, unit;
  std::vector<Bar> bars;
  std::optional<std::pair<double, std::string>> reference;
  std::string description;
};

struct Heading {
  int level = 2;
  std::string text;
};
struct Paragraph {
  std::string text;
};
struct BulletList {
  std::vector<std::string> items;
  bool warning = false;  // set apart: what a reader must not miss
};
// Values between low and high as shades: rows × columns, unset where there is none.
struct HeatMap {
  std::string caption, corner;
  std::vector<std::string> columns, rows;
  std::vector<std::vector<std::optional<double>>> values;  // [row][column]
  double low = 0, high = 100;
  std::string note;
};
ReportTable table_of(const HeatMap& map);  // for formats without shades

// Answers item by item, searchable; only in HTML, and there with a script of the page's own.
struct ItemBrowser {
  struct Answer {
    std::string given;  // "" = none
    double probability = 0;
  };
  struct Row {
    std::string task, identifier, right;
    std::vector<Answer> answers;  // by model
  };
  std::vector<std::string> models;
  std::vector<Row> rows;
  std::string note;
};
std::string browser_html(const ItemBrowser& browser);

// A table that is folded away in HTML.
struct Folded {
  std::string summary;
  ReportTable table;
};
struct Listing {
  std::string summary, text;
};

using Block = std::variant<Heading, Paragraph, BulletList, ReportTable, Folded, Listing, LineChart,
                           ReliabilityRow, BarChart, HeatMap, ItemBrowser>;

struct Document {
  std::string title, subtitle;
  std::vector<Block> blocks;
};

std::string render_html(const Document& document);
std::string render_markdown(const Document& document);
std::string render_latex(const Document& document);

// Inline SVG, with text for screen readers; colours come from the page's style.
std::string svg_of(const LineChart& chart);
std::string svg_of(const Reliability& diagram);
std::string svg_of(const BarChart& chart);

std::string escape_html(std::string_view text);
// Control characters and broken UTF-8 out; what every renderer starts from.
std::string clean_text(std::string_view text);

// "12.3", with the decimals asked for; "–" for what is not finite.
std::string fixed_text(double value, int decimals);
// Four significant digits or so: 0.00213, 3.21, 1,534.
std::string short_number(double value);

}  // namespace bm
