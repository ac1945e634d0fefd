// gRPC's own watcher of certificate files (1.51) serves a key and a certificate that do not fit together,
// which ends every new connection half-way through a renewal. So the files are checked here, and handed to
// gRPC by the callback of its C interface that it asks at each handshake; no class of the C++ interface has
// that.
#include "server/rpc/tls.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>

#include <fstream>
#include <mutex>
#include <sstream>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpc/grpc.h"
#include "grpc/grpc_security.h"
#include "server/telemetry/logging.h"

namespace attribution::rpc {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

// What the files say, checked against each other.
struct Pems {
  std::string certificate;
  std::string key;
  std::string client_ca;  // empty: clients are not asked
};

absl::Status BadFile(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("A TLS file cannot be used. \"", path, "\" ", what));
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return BadFile(path, "must be a readable file.");
  return text.str();
}

std::unique_ptr<BIO, decltype(&BIO_free)> Memory(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

// The first certificate of a PEM text; null if there is none.
Certificate FirstCertificate(const std::string& pem) {
  return {PEM_read_bio_X509(Memory(pem).get(), nullptr, nullptr, nullptr), X509_free};
}

absl::StatusOr<Pems> ReadPems(const TlsOptions& options) {
  Pems pems;
  const std::pair<const std::string*, std::string*> files[] = {{&options.certificate, &pems.certificate},
                                                               {&options.key, &pems.key},
                                                               {&options.client_ca, &pems.client_ca}};
  for (const auto& [path, text] : files) {
    if (path->empty()) continue;
    absl::StatusOr<std::string> read = ReadFile(*path);
    if (!read.ok()) return read.status();
    *text = *std::move(read);
  }
  const Certificate certificate = FirstCertificate(pems.certificate);
  if (certificate == nullptr) return BadFile(options.certificate, "holds no certificate in PEM.");
  // An empty password instead of none, which would ask for one at the terminal.
  const Key key(PEM_read_bio_PrivateKey(Memory(pems.key).get(), nullptr, nullptr, const_cast<char*>("")),
                EVP_PKEY_free);
  if (key == nullptr) return BadFile(options.key, "holds no key in PEM that can be read without a password.");
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return BadFile(options.key, "is the key of another certificate.");
  if (!options.client_ca.empty() && FirstCertificate(pems.client_ca) == nullptr)
    return BadFile(options.client_ca, "holds no certificate in PEM.");
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    telemetry::Log(telemetry::LogLevel::kError,
                   "The server's certificate has expired. Clients will refuse it.",
                   {{"file", options.certificate}});
  }
  return pems;
}

// What changes when one of the files does; a link that is turned to another file counts too.
std::string StampOf(const TlsOptions& options) {
  std::string stamp;
  for (const std::string* path : {&options.certificate, &options.key, &options.client_ca}) {
    struct stat status = {};
    if (path->empty() || stat(path->c_str(), &status) != 0) continue;
    absl::StrAppend(&stamp, status.st_dev, " ", status.st_ino, " ", status.st_size, " ",
                    status.st_mtim.tv_sec, ".", status.st_mtim.tv_nsec, "\n");
  }
  return stamp;
}

// Credentials of one port, which follow their files.
class ReloadingCredentials : public grpc::ServerCredentials {
 public:
  ReloadingCredentials(TlsOptions options, Pems pems, std::string stamp)
      : options_(std::move(options)),
        pems_(std::move(pems)),
        stamp_(std::move(stamp)),
        next_look_(absl::Now() + options_.refresh_interval) {
    const auto request = options_.client_ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                    : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY;
    credentials_ = grpc_ssl_server_credentials_create_with_options(
        grpc_ssl_server_credentials_create_options_using_config_fetcher(request, &Fetch, this));
  }
  ~ReloadingCredentials() override { grpc_server_credentials_release(credentials_); }
  ReloadingCredentials(const ReloadingCredentials&) = delete;
  ReloadingCredentials& operator=(const ReloadingCredentials&) = delete;

  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>& /*none*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Called by gRPC at each handshake.
  static grpc_ssl_certificate_config_reload_status Fetch(void* self,
                                                         grpc_ssl_server_certificate_config** config) {
    return static_cast<ReloadingCredentials*>(self)->Update(config);
  }

  grpc_ssl_certificate_config_reload_status Update(grpc_ssl_server_certificate_config** config) {
    const std::lock_guard lock(mutex_);
    Look();
    if (!is_new_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    is_new_ = false;
    const grpc_ssl_pem_key_cert_pair pair = {pems_.key.c_str(), pems_.certificate.c_str()};
    *config = grpc_ssl_server_certificate_config_create(
        pems_.client_ca.empty() ? nullptr : pems_.client_ca.c_str(), &pair, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  // Reads the files if they are due and have changed.
  void Look() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const absl::Time now = absl::Now();
    if (now < next_look_) return;
    next_look_ = now + options_.refresh_interval;
    std::string stamp = StampOf(options_);
    if (stamp == stamp_) return;
    stamp_ = std::move(stamp);
    absl::StatusOr<Pems> pems = ReadPems(options_);
    telemetry::Log(pems.ok() ? telemetry::LogLevel::kInfo : telemetry::LogLevel::kError,
                   pems.ok() ? "The TLS files have changed and serve new connections."
                             : "The TLS files have changed and cannot be used. The old ones go on.",
                   {{"certificate", options_.certificate}, {"error", std::string(pems.status().message())}});
    if (!pems.ok()) return;
    pems_ = *std::move(pems);
    is_new_ = true;
  }

  const TlsOptions options_;
  grpc_server_credentials* credentials_ = nullptr;
  std::mutex mutex_;
  Pems pems_ ABSL_GUARDED_BY(mutex_);
  std::string stamp_ ABSL_GUARDED_BY(mutex_);  // of the files when they were read last
  absl::Time next_look_ ABSL_GUARDED_BY(mutex_);
  bool is_new_ ABSL_GUARDED_BY(mutex_) = true;  // pems_ was not given to gRPC yet
};

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& options) {
  if (!options.enabled()) return grpc::InsecureServerCredentials();
  std::string stamp = StampOf(options);  // before the files: a change in between is seen at the next look
  absl::StatusOr<Pems> pems = ReadPems(options);
  if (!pems.ok()) return pems.status();
  return std::make_shared<ReloadingCredentials>(options, *std::move(pems), std::move(stamp));
}

}  // namespace attribution::rpc
