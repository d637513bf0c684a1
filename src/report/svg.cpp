// Plain inline SVG: lines, bars, reliability diagrams. Classes take their colours from the page's style;
// widths are in user units of a viewBox, so that a chart scales with the page.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/document.h"

namespace bm {
namespace {

struct Frame {
  double left, top, width, height;
};

struct Axis {
  double low = 0, high = 1, step = 1;
};

// Round steps of 1, 2 or 5 times a power of ten.
Axis nice_axis(double low, double high, int ticks) {
  if (!(high > low)) {
    double pad = low == 0 ? 1 : std::abs(low) * 0.1;
    low -= pad;
    high += pad;
  }
  double raw = (high - low) / ticks, power = std::pow(10.0, std::floor(std::log10(raw))), share = raw / power;
  double step = power * (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10);
  return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
}

std::string tick_text(double value, double step) {
  int decimals = step >= 1 ? 0 : static_cast<int>(std::ceil(-std::log10(step) - 1e-9));
  if (std::abs(value) >= 1000) return short_number(value);
  return fixed_text(value, decimals);
}

std::string text(double x, double y, std::string_view content, const char* anchor,
                 const char* classes = "tick") {
  return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>", classes, x,
                     y, anchor, escape_html(content));
}

std::string open_svg(double width, double height, std::string_view title, std::string_view description) {
  return fmt::format(
      "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\"><title>{}</title><desc>{}</desc>",
      width, height, escape_html(std::string(title) + ". " + std::string(description)), escape_html(title),
      escape_html(description));
}

// Grid lines and ticks of both axes.
std::string grid(const Frame& f, const Axis& x, const Axis& y, std::string_view x_label,
                 std::string_view y_label) {
  std::string out;
  for (double v = y.low; v <= y.high + y.step / 2; v += y.step) {
    double at = f.top + f.height * (y.high - v) / (y.high - y.low);
    out += fmt::format("<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>",
                       f.left, f.left + f.width, at, at);
    out += text(f.left - 8, at + 4, tick_text(v, y.step), "end");
  }
  for (double v = x.low; v <= x.high + x.step / 2; v += x.step) {
    double at = f.left + f.width * (v - x.low) / (x.high - x.low);
    out += text(at, f.top + f.height + 18, tick_text(v, x.step), "middle");
  }
  out += fmt::format("<line class=\"axis\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", f.left,
                     f.left + f.width, f.top + f.height, f.top + f.height);
  if (!x_label.empty()) out += text(f.left + f.width / 2, f.top + f.height + 38, x_label, "middle", "label");
  if (!y_label.empty()) out += text(f.left, f.top - 12, y_label, "start", "label");
  return out;
}

// At most `limit` points: the mean of equal stretches, so that long runs stay small files.
std::vector<std::pair<double, double>> thinned(const std::vector<std::pair<double, double>>& points,
                                               size_t limit) {
  if (points.size() <= limit) return points;
  std::vector<std::pair<double, double>> out;
  for (size_t i = 0; i < limit; ++i) {
    size_t begin = i * points.size() / limit, end = (i + 1) * points.size() / limit;
    double x = 0, y = 0;
    for (size_t k = begin; k < end; ++k) x += points[k].first, y += points[k].second;
    auto count = static_cast<double>(end - begin);
    out.emplace_back(x / count, y / count);
  }
  return out;
}

std::string series_svg(const Series& series, size_t index, const Frame& f, const Axis& x, const Axis& y) {
  std::string path, dots;
  for (auto [px, py] : thinned(series.points, 600)) {
    if (!std::isfinite(px) || !std::isfinite(py)) continue;
    double sx = f.left + f.width * (px - x.low) / (x.high - x.low),
           sy = f.top + f.height * (y.high - py) / (y.high - y.low);
    path += fmt::format("{}{:.1f},{:.1f}", path.empty() ? "" : " ", sx, sy);
    if (series.dots)
      dots += fmt::format(
          "<circle class=\"dot s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"><title>{}: {}</title></circle>",
          index, sx, sy, escape_html(series.name), short_number(py));
  }
  return fmt::format("<polyline class=\"line s{}\" points=\"{}\"/>{}", index, path, dots);
}

}  // namespace

std::string svg_of(const LineChart& chart) {
  constexpr double width = 860, height = 340;
  Frame f{64, 48, width - 88, height - 104};
  double x_low = INFINITY, x_high = -INFINITY, y_low = INFINITY, y_high = -INFINITY;
  for (const Series& s : chart.series)
    for (auto [px, py] : thinned(s.points, 600)) {
      if (!std::isfinite(px) || !std::isfinite(py)) continue;
      x_low = std::min(x_low, px), x_high = std::max(x_high, px);
      y_low = std::min(y_low, py), y_high = std::max(y_high, py);
    }
  if (!std::isfinite(x_low)) return {};
  Axis x = nice_axis(std::min(0.0, x_low), x_high, 8), y = nice_axis(y_low, y_high, 5);
  x.high = std::max(x_high, x.low + x.step);
  std::string out =
      open_svg(width, height, chart.title, chart.description) + grid(f, x, y, chart.x_label, chart.y_label);
  double at = f.left + f.width;
  for (size_t i = chart.series.size(); i-- > 0;) {
    at -= 7.5 * static_cast<double>(chart.series[i].name.size()) + 34;
    out += fmt::format("<line class=\"line s{}\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"18\" y2=\"18\"/>", i, at,
                       at + 22);
    out += text(at + 28, 22, chart.series[i].name, "start", "legend");
  }
  for (size_t i = 0; i < chart.series.size(); ++i) out += series_svg(chart.series[i], i, f, x, y);
  return out + "</svg>";
}

std::string svg_of(const Reliability& diagram) {
  constexpr double width = 270, height = 292;
  Frame f{40, 34, 216, 216};
  Axis unit{0, 1, 0.25};
  double total = 0, largest = 1;
  for (const auto& bin : diagram.bins) total += bin.count, largest = std::max(largest, bin.count);
  std::string description = fmt::format(
      "{} answers; the bars are the share of right answers among those given with that confidence, "
      "the diagonal is perfect calibration; expected calibration error {} points",
      short_number(total), fixed_text(100 * diagram.ece, 1));
  std::string out = open_svg(width, height, "Reliability of " + diagram.title, description) +
                    grid(f, unit, unit, "confidence", "");
  out += text(f.left, 20, diagram.title.size() > 26 ? diagram.title.substr(0, 25) + "…" : diagram.title,
              "start", "label");
  for (const auto& bin : diagram.bins) {
    if (bin.count <= 0) continue;
    double x = f.left + f.width * bin.low, w = f.width * (bin.high - bin.low), h = f.height * bin.accuracy;
    out += fmt::format(
        "<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" "
        "fill-opacity=\"{:.2f}\">"
        "<title>confidence {}–{}: {} of {} answers right</title></rect>",
        x + 1, f.top + f.height - h, w - 2, h, 0.35 + 0.65 * std::sqrt(bin.count / largest),
        fixed_text(bin.low, 1), fixed_text(bin.high, 1), fixed_text(100 * bin.accuracy, 0) + " %",
        short_number(bin.count));
    double cx = f.left + f.width * bin.confidence, cy = f.top + f.height * (1 - bin.accuracy);
    out += fmt::format("<circle class=\"dot s1\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>", cx, cy);
  }
  out += fmt::format("<line class=\"diagonal\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>",
                     f.left, f.top + f.height, f.left + f.width, f.top);
  return out + "</svg>";
}

std::string svg_of(const BarChart& chart) {
  double longest = 0, high = 0;
  for (const auto& bar : chart.bars) {
    longest = std::max(longest, static_cast<double>(bar.label.size()));
    if (std::isfinite(bar.value))
      high = std::max(high, bar.interval ? std::max(bar.value, bar.interval->second) : bar.value);
  }
  if (chart.reference) high = std::max(high, chart.reference->first);
  if (high <= 0) high = 1;
  double left = std::min(260.0, 16 + 8 * longest), row = 30, top = chart.reference ? 34 : 10, width = 860;
  Frame f{left, top, width - left - 110, row * static_cast<double>(chart.bars.size())};
  std::string out = open_svg(width, f.top + f.height + 12, chart.title, chart.description);
  for (size_t i = 0; i < chart.bars.size(); ++i) {
    const auto& bar = chart.bars[i];
    double y = f.top + row * static_cast<double>(i),
           w = std::isfinite(bar.value) ? f.width * std::max(0.0, bar.value) / high : 0;
    out += text(left - 10, y + 20, bar.label, "end", "legend");
    out += fmt::format("<rect class=\"bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"18\"/>", left,
                       y + 6, w);
    double end = w;
    if (bar.interval) {
      double a = left + f.width * std::max(0.0, bar.interval->first) / high,
             b = left + f.width * bar.interval->second / high;
      out += fmt::format(
          "<path class=\"whisker\" d=\"M{:.1f},{:.1f}V{:.1f}M{:.1f},{:.1f}H{:.1f}M{:.1f},{:.1f}V{:.1f}\"/>",
          a, y + 10, y + 20, a, y + 15, b, b, y + 10, y + 20);
      end = std::max(end, b - left);
    }
    out += text(left + end + 8, y + 20, bar.value_text, "start", "legend");
  }
  if (chart.reference) {
    double x = left + f.width * chart.reference->first / high;
    out += fmt::format("<line class=\"diagonal\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>",
                       x, x, f.top - 6, f.top + f.height);
    out += text(x, f.top - 12, chart.reference->second, "middle", "tick");
  }
  return out + "</svg>";
}

}  // namespace bm
