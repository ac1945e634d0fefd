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

TEST(ProgramTest, EstimatePrintsWhatWouldBeDecided) {
  FakeServer server;
  server->estimate.set_estimated_peak_bytes(2048);
  server->estimate.set_ever_fits(true);
  const std::string arguments = "estimate tiny:3 --batch 2 --length 8 --top-k 5 --server " + server.target();
  const Outcome outcome = RunProgram(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("2.0 KiB"));
  EXPECT_THAT(outcome.out, HasSubstr("not now"));
  EXPECT_EQ(server->estimate_request.model_version(), "3");
  EXPECT_EQ(server->estimate_request.batch_size(), 2);
  EXPECT_EQ(server->estimate_request.output().top_k(), 5);
  const nlohmann::json json = nlohmann::json::parse(RunProgram(arguments + " --format json").out);
  EXPECT_EQ(json["estimated_peak_bytes"], 2048);
  EXPECT_EQ(json["fits_now"], false);
}

TEST(ProgramTest, EstimateNeedsALength) { EXPECT_EQ(RunProgram("estimate tiny").exit_code, 2); }

// A file of one layer [1, 2, 2] of zeros.
std::string AttentionFile() {
  const std::string path = ::testing::TempDir() + "/program_test_attention.npy";
  const std::string description = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 2), }\n";
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(description.size());
  bytes += '\0';
  std::ofstream(path, std::ios::binary) << bytes << description << std::string(16, '\0');
  return path;
}

TEST(ProgramTest, RolloutSendsTheFileAndShowsTheReply) {
  FakeServer server;
  server->rollout_events = SmallRollout();
  const std::string arguments = "rollout " + AttentionFile() + " --server " + server.target();
  const Outcome outcome = RunProgram(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_THAT(outcome.out, HasSubstr("Attention of the caller, on cpu."));
  EXPECT_THAT(outcome.out, HasSubstr("Rollout of sequence 0"));
  EXPECT_EQ(server->rollout_header.form(), v1::ATTENTION_FORM_FUSED);
  EXPECT_EQ(server->pieces.at(0).data().size(), 16u);
  const nlohmann::json json = nlohmann::json::parse(RunProgram(arguments + " --format json").out);
  EXPECT_FALSE(json.contains("model"));
  EXPECT_EQ(json["metrics"]["rollout_max"], 1.0);
}

TEST(ProgramTest, RolloutOfAFileThatIsNotThereExitsWith2) {
  EXPECT_EQ(RunProgram("rollout /nonexistent/x.npy --server " + NoServer()).exit_code, 2);
}

TEST(ProgramTest, BenchCountsRequestsOfAClosedLoop) {
  FakeServer server;
  server->events = SmallStream();
  v1::Model& model = server->models.emplace_back();
  model.set_name("tiny");
  model.set_vocabulary_size(10);
  const Outcome outcome =
      RunProgram("bench --shapes 1x2 --clients 3 --warm-up 0 --duration 100ms --format json --server " +
                 server.target());
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_GE(json["succeeded"], 3);
  EXPECT_EQ(json["succeeded"], json["requests"]);
  EXPECT_EQ(server->request.tokens().sequences(0).input_ids_size(), 2);
}

TEST(ProgramTest, BenchOfRefusalsExitsWith3) {
  FakeServer server;
  server->attribute_status = [](int, grpc::ServerContext&) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "Full.");
  };
  const Outcome outcome =
      RunProgram("bench tiny --text a --warm-up 0 --duration 20ms --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.out, HasSubstr("RESOURCE_EXHAUSTED: "));
  EXPECT_THAT(outcome.error, HasSubstr("Full."));
}

TEST(ProgramTest, BenchRefusesTwoLoops) { EXPECT_EQ(RunProgram("bench --clients 2 --rate 5").exit_code, 2); }

TEST(ProgramTest, BenchRefusesAShapeTooLongForTheModel) {
  FakeServer server;
  v1::Model& model = server->models.emplace_back();
  model.set_name("tiny");
  model.set_vocabulary_size(10);
  model.set_max_sequence_length(4);
  const Outcome outcome = RunProgram("bench tiny --shapes 1x5 --server " + server.target());
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.error, HasSubstr("at most 4 tokens"));
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
