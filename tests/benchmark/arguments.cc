#include "tests/benchmark/arguments.h"

#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace attribution::benchmark {

const char kUsage[] =
    "usage: attribution-bench SECTION --repository DIR [--model NAME] --shapes BxS,... [option...]\n"
    "  SECTION        what to measure:\n"
    "    forward        attribution against the plain forward pass, whole and cut; --server adds gRPC\n"
    "    naive          attribution against Hugging Face's eager model with every layer kept; needs "
    "--folder\n"
    "    memory         bytes of one request, counted and as the process's high-water mark\n"
    "    causal         a causal model with and without what its mask hides\n"
    "    estimate       what admission predicts beside what requests take; one a round, none above the first "
    "shape; --model all\n"
    "    growth         time and memory against the length; needs two lengths\n"
    "    allocator      the engine under several process allocators\n"
    "    rows           the last row of the rollout alone against the whole matrix\n"
    "  --repository   model repository; what else is in it is loaded too, and disturbs\n"
    "  --model        model to run (minilm)\n"
    "  --plain-repository  memory: of the model of this name whose plain forward stands beside "
    "(--repository)\n"
    "  --folder       naive: Hugging Face folder that the model was exported from\n"
    "  --server       forward: attribution-server on the same repository, one worker of as many threads\n"
    "  --shapes       batch x length in tokens, such as 16x256,8x512\n"
    "  --rounds       rounds of each shape (9)\n"
    "  --threads      threads of every contender (one a core)\n";

std::optional<std::vector<Shape>> ParseShapes(const std::string& text) {
  std::vector<Shape> shapes;
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    const std::vector<std::string> sides = absl::StrSplit(word, 'x');
    Shape shape;
    if (sides.size() != 2 || !absl::SimpleAtoi(sides[0], &shape.batch) ||
        !absl::SimpleAtoi(sides[1], &shape.length) || shape.batch < 1 || shape.length < 1)
      return std::nullopt;
    shapes.push_back(shape);
  }
  return shapes;
}

std::optional<Arguments> ParseArguments(const std::vector<std::string>& words) {
  Arguments arguments;
  const std::map<std::string, std::string*> texts = {{"--repository", &arguments.repository},
                                                     {"--model", &arguments.model},
                                                     {"--plain-repository", &arguments.plain_repository},
                                                     {"--folder", &arguments.folder},
                                                     {"--server", &arguments.server},
                                                     {"--contender", &arguments.contender}};
  const std::map<std::string, int*> numbers = {
      {"--rounds", &arguments.rounds}, {"--threads", &arguments.threads}, {"--workers", &arguments.workers}};
  if (words.size() % 2 == 0) return std::nullopt;
  arguments.section = words.front();
  for (size_t i = 1; i < words.size(); i += 2) {
    const std::string& flag = words[i];
    const std::string& value = words[i + 1];
    if (texts.count(flag) > 0) {
      *texts.at(flag) = value;
    } else if (numbers.count(flag) > 0) {
      if (!absl::SimpleAtoi(value, numbers.at(flag)) || *numbers.at(flag) < 1) return std::nullopt;
    } else if (flag == "--shapes") {
      auto shapes = ParseShapes(value);
      if (!shapes) return std::nullopt;
      arguments.shapes = *std::move(shapes);
    } else {
      return std::nullopt;
    }
  }
  if (arguments.repository.empty()) return std::nullopt;
  if (arguments.section != "contender" && arguments.shapes.empty()) return std::nullopt;
  if (arguments.section == "naive" && arguments.folder.empty()) return std::nullopt;
  return arguments;
}

}  // namespace attribution::benchmark
