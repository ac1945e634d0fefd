// Runs the real program `attribution` against a fake server.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/client/fake_server.h"

namespace attribution {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string error;
};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Runs the program; `arguments` and `environment` are in the shell's syntax.
Outcome RunProgram(const std::string& arguments, const std::string& environment = "") {
  const std::string base = ::testing::TempDir() + "/program_test_" +
                           ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const std::string command =
      environment + " " ATTRIBUTION_PROGRAM " " + arguments + " >" + base + ".out 2>" + base + ".err";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(base + ".out"), ReadAll(base + ".err")};
}

// The target of a server that is not there any more.
std::string NoServer() { return FakeServer().target(); }

TEST(ProgramTest, HelpShowsExamplesAndExitCodes) {
  const Outcome outcome = RunProgram("query --help");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("attribution query --text"));
  EXPECT_THAT(RunProgram("--help").out, HasSubstr("4 cannot connect"));
}

TEST(ProgramTest, UnknownFlagExitsWith2) { EXPECT_EQ(RunProgram("query --wrong").exit_code, 2); }

TEST(ProgramTest, UnknownCommandExitsWith2) { EXPECT_EQ(RunProgram("sweep").exit_code, 2); }

TEST(ProgramTest, NoCommandExitsWith2) { EXPECT_EQ(RunProgram("").exit_code, 2); }

TEST(ProgramTest, UnknownPresetExitsWith2) {
  const Outcome outcome = RunProgram("query --text a --preset x --server " + NoServer());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("error: No such preset: x."));
}

TEST(ProgramTest, BadDurationExitsWith2) { EXPECT_EQ(RunProgram("health --timeout soon").exit_code, 2); }

TEST(ProgramTest, NoServerExitsWith4) {
  const Outcome outcome = RunProgram("query --text a --server " + NoServer());
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.error, HasSubstr("error: Cannot connect to a server: "));
  EXPECT_THAT(outcome.error, HasSubstr("hint: "));
}

TEST(ProgramTest, RefusalOfTheServerExitsWith3) {
  FakeServer server;
  server->attribute_status = [](int, grpc::ServerContext&) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "No such model: \"x\".");
  };
  const Outcome outcome = RunProgram("query --model x --text a --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.out, IsEmpty());
  EXPECT_EQ(outcome.error, "error: No such model: \"x\".\n  code: NOT_FOUND\n");
}

TEST(ProgramTest, EnvironmentNamesTheServer) {
  FakeServer server;
  server->health[""] = grpc::health::v1::HealthCheckResponse::SERVING;
  const Outcome outcome = RunProgram("health", "ATTRIBUTION_SERVER=" + server.target());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out, "server: SERVING\n");
}

TEST(ProgramTest, HealthOfAServiceThatIsDownExitsWith3) {
  FakeServer server;
  server->health["model/a"] = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  EXPECT_EQ(RunProgram("health --service model/a --server " + server.target()).exit_code, 3);
  EXPECT_EQ(RunProgram("health --service model/b --server " + server.target()).exit_code, 3);
}

TEST(ProgramTest, QueryPrintsPlainTablesIntoAPipe) {
  FakeServer server;
  server->events = SmallStream();
  const Outcome outcome = RunProgram("query --model tiny --text 'a b' --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.error, IsEmpty());
  EXPECT_THAT(outcome.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(outcome.out, HasSubstr("rollout_max              1.0000      1.0000\n"));
  EXPECT_THAT(outcome.out, HasSubstr("Rollout of sequence 0: a b\n"));
}

TEST(ProgramTest, QueryTakesTheOnlyModel) {
  FakeServer server;
  server->events = SmallStream();
  server->models.emplace_back().set_name("tiny");
  EXPECT_EQ(RunProgram("query --text a --server " + server.target()).exit_code, 0);
  EXPECT_EQ(server->request.model(), "tiny");
}

TEST(ProgramTest, QueryAsksWhichOfSeveralModels) {
  FakeServer server;
  for (const char* name : {"one", "two"}) server->models.emplace_back().set_name(name);
  const Outcome outcome = RunProgram("query --text a --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("one, two"));
}

TEST(ProgramTest, QueryReadsStandardInput) {
  FakeServer server;
  server->events = SmallStream();
  EXPECT_EQ(RunProgram("query --model tiny --server " + server.target(), "printf 'one\\ntwo\\n' |").exit_code,
            0);
  EXPECT_EQ(server->request.text().texts_size(), 2);
}

TEST(ProgramTest, QueryWritesJson) {
  FakeServer server;
  server->events = SmallStream();
  const Outcome outcome = RunProgram("query --model tiny --text a --format json --server " + server.target());
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["model_version"], "7");
  EXPECT_EQ(json["sequences"][0]["rollout"], nlohmann::json({{1.0, 0.0}, {0.25, 0.75}}));
}

TEST(ProgramTest, QueryWritesTheFilesItWasAskedFor) {
  FakeServer server;
  server->events = SmallStream();
  const std::string base = ::testing::TempDir() + "/program_test_files";
  const Outcome outcome = RunProgram("query --model tiny --text a --no-matrix --html " + base +
                                     ".html --npy " + base + ".npy --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, Not(HasSubstr("Rollout of sequence")));
  EXPECT_THAT(ReadAll(base + ".html"), HasSubstr("<!doctype html>"));
  EXPECT_THAT(ReadAll(base + ".npy"), HasSubstr("NUMPY"));
}

TEST(ProgramTest, FileThatCannotBeWrittenExitsWith2) {
  FakeServer server;
  server->events = SmallStream();
  EXPECT_EQ(RunProgram("query --model tiny --text a --npy /nonexistent/x.npy --server " + server.target())
                .exit_code,
            2);
}

TEST(ProgramTest, ModelsListShowsLoadErrors) {
  FakeServer server;
  v1::Model model;
  model.set_name("broken");
  model.set_version("1");
  model.set_state(v1::MODEL_STATE_FAILED);
  model.set_load_error("Not a TorchScript file.");
  server->models.push_back(model);
  const Outcome outcome = RunProgram("models list --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("broken version 1 did not load: Not a TorchScript file."));
}

TEST(ProgramTest, ModelsShowOfAnUnknownModelExitsWith3) {
  FakeServer server;
  EXPECT_EQ(RunProgram("models show x --server " + server.target()).exit_code, 3);
}

}  // namespace
}  // namespace attribution
