// chrF of two texts (Popović 2015): the F-score of character n-grams, as sacrebleu computes chrF2.
#pragma once

#include <string_view>

namespace bm {

// 0 … 100. Character orders 1 to 6 without white space, recall weighted by beta² = 4; precision and recall
// are averaged over the orders that both texts have, 0 when there is none.
double chrf(std::string_view hypothesis, std::string_view reference);

}  // namespace bm
