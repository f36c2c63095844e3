#include "embedding/bind.h"

#include <pybind11/stl.h>

#include "common/fields.h"
#include "embedding/cpu/nearest_engine.h"
#include "embedding/cpu/word2vec_engine.h"
#include "embedding/ngrams.h"

namespace py = pybind11;

namespace pyrnn::embedding {
namespace {

#define F(member) PYRNN_FIELD(Word2VecProblem, member)
const Field<Word2VecProblem> kWord2Vec[] = {
    F(V),          F(S),         F(count),    F(position), F(epoch),     F(seed),         F(window),
    F(shrink),     F(cbow),      F(batched),  F(updates),  F(negatives), F(most_targets), F(most_rows),
    F(rate),       F(last_rate), F(ids),      F(keep),     F(noise),     F(path_begin),   F(path_nodes),
    F(path_signs), F(bag_begin), F(bag_rows), F(input),    F(output)};
#undef F
#define F(member) PYRNN_FIELD(NearestProblem, member)
const Field<NearestProblem> kNearest[] = {F(N),          F(D),       F(Q),       F(k),
                                          F(multiplied), F(epsilon), F(queries), F(matrix),
                                          F(inverse),    F(scores),  F(numbers)};
#undef F

void run_nearest(const py::tuple& problem, int threads) {
  NearestProblem p{};
  fill(p, kNearest, problem);
  py::gil_scoped_release release;
  nearest(p, threads);
}

// (loss, predictions, words), see Word2VecSums.
py::tuple run(const py::tuple& problem, int threads) {
  Word2VecProblem p{};
  fill(p, kWord2Vec, problem);
  Word2VecSums sums;
  {
    py::gil_scoped_release release;
    sums = word2vec(p, threads);
  }
  return py::make_tuple(sums.loss, sums.predictions, sums.words);
}

// Of each word its own row and those of its n-grams, one after another as bytes of int32, and how many.
py::tuple word_rows(const std::vector<std::string>& words, int64_t shortest, int64_t longest,
                    int64_t buckets) {
  std::vector<int32_t> rows;
  std::vector<int64_t> counts;
  for (size_t id = 0; id < words.size(); id++) {
    const size_t before = rows.size();
    rows.push_back(int32_t(id));
    ngram_rows(words[id], shortest, longest, buckets, int64_t(words.size()), rows);
    counts.push_back(int64_t(rows.size() - before));
  }
  return py::make_tuple(py::bytes(reinterpret_cast<const char*>(rows.data()), rows.size() * sizeof(int32_t)),
                        counts);
}

}  // namespace

void bind(py::module_& m, py::dict& fields) {
  fields["embedding.Word2Vec"] = names_of(kWord2Vec);
  fields["embedding.Nearest"] = names_of(kNearest);
  m.attr("word2vec_row_unit") = kRowUnit;
  m.attr("word2vec_task") = kTask;
  m.attr("word2vec_group") = kGroup;
  m.attr("word2vec_most_targets") = kMostTargets;
  m.def("word2vec", &run);
  m.def("nearest", &run_nearest);
  m.def("word_rows", &word_rows);
  bind_glove(m, fields);
}

}  // namespace pyrnn::embedding
