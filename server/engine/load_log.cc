#include "server/engine/load_log.h"

#include <cstdint>
#include <map>
#include <string>

#include "server/telemetry/logging.h"

namespace attribution::engine {
namespace {

struct TappedSites {
  int64_t count = 0;
  std::string first_path;
};

}  // namespace

void LogLoad(const ModelInfo& model) {
  std::map<std::string, TappedSites> tapped;  // by reason
  int64_t blocked = 0;
  for (const AttentionSite& site : model.sites) {
    if (site.kind == SiteKind::kBlocked) {
      ++blocked;
    } else if (TappedSites& sites = tapped[site.tap_reason]; ++sites.count == 1) {
      sites.first_path = site.module_path;
    }
  }
  telemetry::Log(telemetry::LogLevel::kInfo, "Model loaded.",
                 {{"model", model.name},
                  {"version", model.version},
                  {"device", model.device},
                  {"seconds", model.load_seconds},
                  {"layers", model.num_layers},
                  {"heads", model.num_heads},
                  {"sites_in_blocks", blocked},
                  {"sites_tapped", static_cast<int64_t>(model.sites.size()) - blocked},
                  {"sites_skipped", model.skipped.size()}});
  for (const auto& [reason, sites] : tapped) {
    telemetry::Log(telemetry::LogLevel::kInfo,
                   "Attention is tapped: its whole matrix exists while a layer runs.",
                   {{"model", model.name},
                    {"version", model.version},
                    {"sites", sites.count},
                    {"first", sites.first_path},
                    {"reason", reason}});
  }
}

}  // namespace attribution::engine
