#include "optimizer/cpu/engine.h"

#include <algorithm>
#include <cmath>

#include "common/dispatch.h"
#include "common/workspace.h"

namespace pyrnn::optimizer {
namespace {

struct Task {
  const Parameter* parameter;
  int64_t begin, end;
};

std::vector<Task> tasks_of(const std::vector<Parameter>& parameters) {
  std::vector<Task> tasks;
  for (const Parameter& p : parameters)
    for (int64_t begin = 0; begin < p.count; begin += kTask)
      tasks.push_back({&p, begin, std::min(begin + kTask, p.count)});
  return tasks;
}

const Kernels& kernels_of(const Task& task) { return *pyrnn::kernels(task.parameter->dtype).optimizer; }

Update update_of(const Parameter& p, double scale) {
  const Settings& s = *p.settings;
  return {s.maximize ? -scale : scale,
          1 - s.lr * s.decay,
          1 - s.beta1,
          s.beta2,
          1 - s.beta2,
          s.lr / (1 - std::pow(s.beta1, p.step)),
          1 / std::sqrt(1 - std::pow(s.beta2, p.step)),
          s.eps};
}

}  // namespace

double norm_of(const std::vector<Parameter>& parameters, double grad_scale, int threads) {
  const std::vector<Task> tasks = tasks_of(parameters);
  std::vector<double> sums(tasks.size());
  for_tasks(int64_t(tasks.size()), threads, [&](int64_t i, int) {
    const Task& task = tasks[size_t(i)];
    sums[size_t(i)] = kernels_of(task).squares(*task.parameter, task.begin, task.end);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total) / grad_scale;
}

void adamw(const std::vector<Parameter>& parameters, double scale, int threads) {
  const std::vector<Task> tasks = tasks_of(parameters);
  for_tasks(int64_t(tasks.size()), threads, [&](int64_t i, int) {
    const Task& task = tasks[size_t(i)];
    kernels_of(task).update(*task.parameter, update_of(*task.parameter, scale), task.begin, task.end);
  });
}

}  // namespace pyrnn::optimizer
