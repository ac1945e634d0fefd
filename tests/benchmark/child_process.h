// ChildProcess runs a program and exchanges lines of text with it over two pipes.
//
// Not thread-safe. Errors are exceptions that name the child.
#ifndef TESTS_BENCHMARK_CHILD_PROCESS_H_
#define TESTS_BENCHMARK_CHILD_PROCESS_H_

#include <sys/types.h>

#include <cstdio>
#include <string>
#include <vector>

namespace attribution::benchmark {

// How to start a child.
struct Command {
  std::string program = "/proc/self/exe";  // this program once more
  std::vector<std::string> arguments;
  std::vector<std::string> environment;  // `NAME=value`, beside our own
};

class ChildProcess {
 public:
  // Starts the child. Its standard input and output are the pipes; its standard error is ours. `name` is for
  // errors. REQUIRES: SIGPIPE is ignored.
  ChildProcess(const std::string& name, const Command& command);

  // Closes the pipes, at which the child ends by itself, and waits for it.
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Sends one line; `line` is without its end.
  void WriteLine(const std::string& line);

  // Waits for the next line and returns it without its end.
  std::string ReadLine();

  // Whether a file with `name` in its path is mapped into the child, such as a library.
  bool HasMapped(const std::string& name) const;

 private:
  [[noreturn]] void ThrowEnded();
  int Close();  // returns the status of waitpid

  const std::string name_;
  pid_t pid_ = -1;  // -1: none, or waited for
  std::FILE* to_child_ = nullptr;
  std::FILE* from_child_ = nullptr;
};

}  // namespace attribution::benchmark

#endif  // TESTS_BENCHMARK_CHILD_PROCESS_H_
