// The character n-grams of words, as rows of a table: those of <word>, "<" and ">" standing for its ends,
// each at the row that its hash points to (Bojanowski et al., Enriching Word Vectors with Subword
// Information, 2017).
#pragma once
#include <stdint.h>

#include <string>
#include <vector>

namespace pyrnn::embedding {

// Appends V's row `first` + FNV-1a(n-gram) modulo `buckets` of each n-gram of `shortest` to `longest`
// characters to `rows`. A bracket alone is none. Bytes above 127 are extended with their sign, as in the
// program fastText, so that its tables are ours.
void ngram_rows(const std::string& word, int64_t shortest, int64_t longest, int64_t buckets, int64_t first,
                std::vector<int32_t>& rows);

}  // namespace pyrnn::embedding
