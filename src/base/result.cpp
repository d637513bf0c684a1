#include "base/result.h"

namespace bm {

std::string Error::paragraph() const {
  std::string text;
  for (const std::string& place : where_) {
    if (!text.empty()) text += " → ";
    text += place;
  }
  if (!text.empty()) text += ": ";
  text += what_;
  if (!text.empty() && text.back() != '.' && text.back() != '!' && text.back() != '?') text += '.';
  if (!cure_.empty()) {
    text += ' ';
    text += cure_;
    if (text.back() != '.' && text.back() != '!' && text.back() != '?') text += '.';
  }
  return text;
}

}  // namespace bm
