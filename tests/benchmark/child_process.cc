#include "tests/benchmark/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <stdexcept>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace attribution::benchmark {
namespace {

void RequireNoError(int error, const std::string& what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

struct Pipe {
  // Closed on exec, so that no other child holds an end of it open.
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) RequireNoError(errno, "Cannot make a pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
  int read_end = -1;
  int write_end = -1;
};

// Our own environment with `settings` in place of those of the same name.
std::vector<std::string> EnvironmentWith(std::vector<std::string> settings) {
  std::set<std::string> names;
  for (const std::string& setting : settings) names.insert(setting.substr(0, setting.find('=')));
  for (char** pointer = environ; *pointer != nullptr; ++pointer) {
    const std::string setting = *pointer;
    if (names.count(setting.substr(0, setting.find('='))) == 0) settings.push_back(setting);
  }
  return settings;
}

// Pointers to the words, as exec takes them: null at the end.
std::vector<char*> PointersTo(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

ChildProcess::ChildProcess(const std::string& name, const Command& command) : name_(name) {
  std::vector<std::string> words = command.arguments;
  words.insert(words.begin(), command.program);
  std::vector<char*> arguments = PointersTo(words);
  std::vector<std::string> settings = EnvironmentWith(command.environment);
  std::vector<char*> environment = PointersTo(settings);

  const Pipe requests;
  const Pipe answers;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, requests.read_end, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, answers.write_end, STDOUT_FILENO);
  const int error =
      posix_spawn(&pid_, command.program.c_str(), &actions, nullptr, arguments.data(), environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(requests.read_end);
  close(answers.write_end);
  to_child_ = fdopen(requests.write_end, "w");
  from_child_ = fdopen(answers.read_end, "r");
  RequireNoError(error, absl::StrCat("Cannot start the contender \"", name, "\""));
}

ChildProcess::~ChildProcess() {
  if (pid_ != -1) Close();
}

void ChildProcess::WriteLine(const std::string& line) {
  if (std::fprintf(to_child_, "%s\n", line.c_str()) < 0 || std::fflush(to_child_) != 0) ThrowEnded();
}

std::string ChildProcess::ReadLine() {
  std::string line;
  for (int c = std::getc(from_child_); c != '\n'; c = std::getc(from_child_)) {
    if (c == EOF) ThrowEnded();
    line += static_cast<char>(c);
  }
  return line;
}

bool ChildProcess::HasMapped(const std::string& name) const {
  std::ifstream maps(absl::StrCat("/proc/", pid_, "/maps"));
  for (std::string line; std::getline(maps, line);) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

void ChildProcess::ThrowEnded() {
  const int status = Close();
  throw std::runtime_error(absl::StrCat("The contender \"", name_, "\" ended before the benchmark did, ",
                                        WIFSIGNALED(status)
                                            ? absl::StrCat("by signal ", WTERMSIG(status))
                                            : absl::StrCat("with exit status ", WEXITSTATUS(status)),
                                        ". Its own error, if it had time for one, stands above."));
}

int ChildProcess::Close() {
  std::fclose(to_child_);
  std::fclose(from_child_);
  int status = 0;
  while (waitpid(pid_, &status, 0) == -1 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

}  // namespace attribution::benchmark
