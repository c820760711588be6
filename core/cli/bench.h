// `sotto bench`: times kernels and models natively and prints one JSON line for each measurement.
#ifndef SOTTO_CORE_CLI_BENCH_H_
#define SOTTO_CORE_CLI_BENCH_H_

#include <string>
#include <vector>

#include "core/base/status.h"

namespace sotto {

// Runs the cases whose names begin with one of `names`; all where there are none.
Status Bench(const std::vector<std::string>& names, int threads);

}  // namespace sotto

#endif  // SOTTO_CORE_CLI_BENCH_H_
