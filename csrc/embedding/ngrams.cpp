#include "embedding/ngrams.h"

namespace pyrnn::embedding {

void ngram_rows(const std::string& word, int64_t shortest, int64_t longest, int64_t buckets, int64_t first,
                std::vector<int32_t>& rows) {
  const std::string text = "<" + word + ">";
  const auto continues = [&](size_t i) { return i < text.size() && (uint8_t(text[i]) & 0xc0) == 0x80; };
  for (size_t begin = 0; begin < text.size(); begin++) {
    if (continues(begin)) continue;
    uint32_t hash = 2166136261u;
    size_t end = begin;
    for (int64_t length = 1; length <= longest && end < text.size(); length++) {
      do hash = (hash ^ uint32_t(int8_t(text[end++]))) * 16777619u;
      while (continues(end));
      const bool bracket = length == 1 && (begin == 0 || end == text.size());
      if (length >= shortest && !bracket) rows.push_back(int32_t(first + hash % uint64_t(buckets)));
    }
  }
}

}  // namespace pyrnn::embedding
