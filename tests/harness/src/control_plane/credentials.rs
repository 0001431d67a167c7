//! Keys, tokens and kubeconfig files of one control plane. Writes files that only we can read.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use pem::{EncodeConfig, LineEnding, Pem, encode_config};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

/// A name that the API server's own certificate always carries, whatever address it is reached under.
pub(super) const TLS_SERVER_NAME: &str = "kubernetes.default.svc";

/// The start of a SubjectPublicKeyInfo of an uncompressed P-256 point (RFC 5480); the 65 bytes of the point follow.
const P256_PUBLIC_KEY_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The key that signs service account tokens.
pub(super) struct ServiceAccountKey {
    /// PKCS#8 in PEM.
    pub(super) private: PathBuf,
    /// SubjectPublicKeyInfo in PEM: the API server reads a public key out of private ones only in older formats.
    pub(super) public: PathBuf,
}

impl ServiceAccountKey {
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|_| anyhow!("cannot make the key of service accounts"))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|_| anyhow!("cannot read back the key of service accounts"))?;
        let public = [&P256_PUBLIC_KEY_HEADER, pair.public_key().as_ref()].concat();
        let key = Self {
            private: directory.join("service-account.key"),
            public: directory.join("service-account.pub"),
        };
        write_secret(&key.private, &pem_text("PRIVATE KEY", document.as_ref()))?;
        write_secret(&key.public, &pem_text("PUBLIC KEY", &public))?;
        Ok(key)
    }
}

fn pem_text(tag: &str, content: &[u8]) -> String {
    let lines = EncodeConfig::new().set_line_ending(LineEnding::LF);
    encode_config(&Pem::new(tag, content), lines)
}

/// A kubeconfig with one user who shows `token`.
pub(super) fn kubeconfig(server: &str, certificate: &Path, token: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: evenkeel
  cluster:
    server: {server}
    certificate-authority: {certificate:?}
    tls-server-name: {TLS_SERVER_NAME}
users:
- name: user
  user:
    token: {token:?}
contexts:
- name: evenkeel
  context:
    cluster: evenkeel
    user: user
current-context: evenkeel
"
    )
}

/// Writes a file that only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}
