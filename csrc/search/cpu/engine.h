// The candidates of all rows: threads. Addresses are the caller's to check.
#pragma once
#include "search/problem.h"

namespace pyrnn::search {

void choose(int dtype, const Choice& p, int threads);

}  // namespace pyrnn::search
