#include "server/rpc/tls.h"

#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "server/telemetry/logging.h"

namespace attribution::rpc {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

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

// The first certificate of a PEM file.
absl::StatusOr<Certificate> ReadCertificate(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  Certificate certificate(PEM_read_bio_X509(Memory(*text).get(), nullptr, nullptr, nullptr), X509_free);
  if (certificate == nullptr) return BadFile(path, "holds no certificate in PEM.");
  return certificate;
}

absl::Status CheckKey(const std::string& path, X509* certificate) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  // An empty password instead of none, which would ask for one at the terminal.
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      PEM_read_bio_PrivateKey(Memory(*text).get(), nullptr, nullptr, const_cast<char*>("")), EVP_PKEY_free);
  if (key == nullptr) return BadFile(path, "holds no key in PEM that can be read without a password.");
  if (X509_check_private_key(certificate, key.get()) != 1)
    return BadFile(path, "is the key of another certificate.");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsOptions& options) {
  if (!options.enabled()) return grpc::InsecureServerCredentials();
  const absl::StatusOr<Certificate> certificate = ReadCertificate(options.certificate);
  if (!certificate.ok()) return certificate.status();
  if (absl::Status status = CheckKey(options.key, certificate->get()); !status.ok()) return status;
  if (X509_cmp_current_time(X509_get0_notAfter(certificate->get())) < 0) {
    telemetry::Log(telemetry::LogLevel::kError,
                   "The server's certificate has expired. Clients will refuse it.",
                   {{"file", options.certificate}});
  }
  const auto seconds =
      static_cast<unsigned int>(std::max<int64_t>(1, absl::ToInt64Seconds(options.refresh_interval)));
  std::shared_ptr<grpc::experimental::CertificateProviderInterface> provider;
  const bool asks_clients = !options.client_ca.empty();
  if (asks_clients) {
    if (absl::Status status = ReadCertificate(options.client_ca).status(); !status.ok()) return status;
    provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
        options.key, options.certificate, options.client_ca, seconds);
  } else {
    provider = std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
        options.key, options.certificate, seconds);
  }
  grpc::experimental::TlsServerCredentialsOptions tls(provider);
  tls.watch_identity_key_cert_pairs();
  if (asks_clients) tls.watch_root_certs();
  tls.set_cert_request_type(asks_clients ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
                                         : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(tls);
}

}  // namespace attribution::rpc
