//! Certificate requests (PKCS#10, RFC 2986), self-signed certificates (RFC 5280) and public keys, signed by whatever
//! makes an ECDSA signature of a digest.
//!
//! Nothing here knows the device: the bytes to be signed come out, the signature goes in.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use der::asn1::{Any, BitString, Ia5String, ObjectIdentifier, OctetString, UintRef};
use der::pem::LineEnding;
use der::{Decode, Encode, Tag};
use holdfast_wallet::{Curve, PublicKey};
use sha2::{Digest, Sha256};
use spki::{AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, EncodePublicKey, SubjectPublicKeyInfoOwned};
use x509_cert::attr::Attributes;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{self, Builder, CertificateBuilder};
use x509_cert::certificate::{Certificate, TbsCertificate};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use crate::failure::Failure;

/// `id-ecPublicKey` (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `ecdsa-with-SHA256` (RFC 5758, section 3.2).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// Signs a SHA-256 digest: r‖s.
pub type SignDigest<'a> = &'a dyn Fn(&[u8; 32]) -> Result<[u8; 64], Failure>;

/// Who a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(pub Name);

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = "write it as RFC 4514 does, the most specific part first: CN=www.example.org,O=Example,C=DE";
        if text.starts_with('/') {
            return Err(format!("{text:?} is written as OpenSSL shows names; {advice}"));
        }
        match Name::from_str(text) {
            Ok(name) if !name.is_empty() => Ok(Self(name)),
            Ok(_) => Err(format!("empty; {advice}")),
            Err(error) => Err(format!("{text:?} is no distinguished name ({error}); {advice}")),
        }
    }
}

/// A subject alternative name (RFC 5280, section 4.2.1.6): `DNS:www.example.org`, `IP:192.0.2.1`, `EMAIL:...`, `URI:...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AltName(pub GeneralName);

impl FromStr for AltName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("{text:?}: DNS:name, IP:address, EMAIL:address or URI:uri expected");
        let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty()).ok_or_else(expected)?;
        let ia5 =
            |value: &str| Ia5String::new(value).map_err(|_| format!("{text:?}: only ASCII is allowed; encode it"));
        let name = match kind.to_ascii_uppercase().as_str() {
            "DNS" => GeneralName::DnsName(ia5(value)?),
            "EMAIL" => GeneralName::Rfc822Name(ia5(value)?),
            "URI" => GeneralName::UniformResourceIdentifier(ia5(value)?),
            "IP" => {
                let address: IpAddr = value.parse().map_err(|_| format!("{value:?} is no IP address"))?;
                let bytes = match address {
                    IpAddr::V4(address) => address.octets().to_vec(),
                    IpAddr::V6(address) => address.octets().to_vec(),
                };
                GeneralName::IpAddress(OctetString::new(bytes).map_err(|error| error.to_string())?)
            }
            _ => return Err(expected()),
        };
        Ok(Self(name))
    }
}

/// The SubjectPublicKeyInfo of a key: the curve named, the point uncompressed (RFC 5480, section 2).
pub fn public_key_info(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, Failure> {
    let algorithm = AlgorithmIdentifierOwned {
        oid: EC_PUBLIC_KEY,
        parameters: Some(Any::from_der(key.curve().oid_der()).map_err(encoding)?),
    };
    let subject_public_key = BitString::from_bytes(&key.to_sec1()).map_err(encoding)?;
    Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key })
}

/// A public key as `PUBLIC KEY` PEM.
pub fn public_key_pem(key: &PublicKey) -> Result<String, Failure> {
    pem(&public_key_info(key)?.to_der().map_err(encoding)?, "PUBLIC KEY")
}

/// A P-256 key as OpenSSH writes it in `authorized_keys` (RFC 5656, section 3.1); `None` for a curve that it lacks.
pub fn openssh(key: &PublicKey, comment: &str) -> Option<String> {
    let encoded = Base64::encode_string(&openssh_blob(key)?);
    // A line feed in a label would be a second line of authorized_keys.
    let comment: String = comment.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    Some(format!("ecdsa-sha2-nistp256 {encoded} {comment}").trim_end().to_owned() + "\n")
}

/// OpenSSH's fingerprint of a P-256 key.
pub fn openssh_fingerprint(key: &PublicKey) -> Option<String> {
    let digest: [u8; 32] = Sha256::digest(openssh_blob(key)?).into();
    Some(format!("SHA256:{}", Base64::encode_string(&digest).trim_end_matches('=')))
}

fn openssh_blob(key: &PublicKey) -> Option<Vec<u8>> {
    if key.curve() != Curve::P256 {
        return None;
    }
    let mut blob = Vec::new();
    for part in [b"ecdsa-sha2-nistp256".as_slice(), b"nistp256", &key.to_sec1()] {
        blob.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        blob.extend(part);
    }
    Some(blob)
}

/// A certificate request, DER.
pub fn request(key: &PublicKey, subject: &Name, names: &[AltName], sign: SignDigest<'_>) -> Result<Vec<u8>, Failure> {
    let info = request_info(key, subject, names)?;
    let signature = signature(&info.to_der().map_err(encoding)?, sign)?;
    let request = CertReq { info, algorithm: ecdsa_with_sha256(), signature };
    request.to_der().map_err(encoding)
}

/// Whether `pem` is a request that says the same and that the key signed.
pub fn is_same_request(pem: &[u8], key: &PublicKey, subject: &Name, names: &[AltName]) -> bool {
    let (Ok(wanted), Some(request)) = (request_info(key, subject, names), from_pem::<CertReq>(pem)) else {
        return false;
    };
    let signed = request.info.to_der().is_ok_and(|signed| verifies(key, &signed, &request.signature));
    request.info == wanted && signed
}

fn request_info(key: &PublicKey, subject: &Name, names: &[AltName]) -> Result<CertReqInfo, Failure> {
    let mut attributes = Attributes::default();
    if let Some(names) = alt_names(names) {
        let extension = (&names).to_extension(subject, &[]).map_err(encoding)?;
        let wanted = ExtensionReq::from(vec![extension]).try_into().map_err(encoding)?;
        attributes.insert(wanted).map_err(encoding)?;
    }
    Ok(CertReqInfo { version: Version::V1, subject: subject.clone(), public_key: public_key_info(key)?, attributes })
}

/// A certificate that its own key signs: for one day or many, for servers and clients, not for an authority.
pub fn self_signed(
    key: &PublicKey,
    subject: &Name,
    names: &[AltName],
    days: u32,
    serial: &[u8; 16],
    sign: SignDigest<'_>,
) -> Result<Certificate, Failure> {
    let mut serial = *serial;
    // Positive, and never shorter for a leading zero (RFC 5280, section 4.1.2.2).
    serial[0] = serial[0] & 0x3f | 0x40;
    let validity = Validity::new(Time::now().map_err(encoding)?, not_after(days)?);
    let serial = SerialNumber::new(&serial).map_err(encoding)?;
    let signer = Signer(key);
    let mut builder = CertificateBuilder::new(SelfSigned(subject.clone()), serial, validity, public_key_info(key)?)
        .map_err(building)?;
    if let Some(names) = alt_names(names) {
        builder.add_extension(&names).map_err(encoding)?;
    }
    let signature = signature(&builder.finalize(&signer).map_err(building)?, sign)?;
    builder.assemble(signature, &signer).map_err(building)
}

fn not_after(days: u32) -> Result<Time, Failure> {
    let end = std::time::SystemTime::now().checked_add(Duration::from_secs(u64::from(days) * 86_400));
    end.and_then(|end| Time::try_from(end).ok())
        .ok_or_else(|| Failure::usage(format!("--days {days}: certificates cannot say a date that late")))
}

/// A certificate that was found where one shall go, compared with the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It says the same and is valid now.
    Same,
    /// The key signed it for the same subject, but it has expired or has other alternative names.
    Outdated,
    /// Somebody else's business, such as what an authority issued for the key.
    Other,
}

/// Compares a certificate, DER, with the self-signed one that is wanted.
pub fn compare_certificate(der: &[u8], key: &PublicKey, subject: &Name, names: &[AltName]) -> Found {
    let Ok(certificate) = Certificate::from_der(der) else { return Found::Other };
    let inner = certificate.tbs_certificate();
    let (Ok(signed), Ok(info)) = (inner.to_der(), public_key_info(key)) else { return Found::Other };
    let own = inner.subject() == subject
        && inner.issuer() == subject
        && *inner.subject_public_key_info() == info
        && verifies(key, &signed, certificate.signature());
    if !own {
        return Found::Other;
    }
    let now = std::time::SystemTime::now();
    let valid =
        inner.validity().not_before.to_system_time() <= now && now < inner.validity().not_after.to_system_time();
    let found_names = inner.get_extension::<SubjectAltName>();
    let has_names = found_names.is_ok_and(|found| found.map(|(_, names)| names) == alt_names(names));
    if valid && has_names { Found::Same } else { Found::Outdated }
}

/// DER as PEM with this label (RFC 7468).
pub fn pem(der: &[u8], label: &'static str) -> Result<String, Failure> {
    der::pem::encode_string(label, LineEnding::LF, der).map_err(|error| encoding(error.into()))
}

/// The DER inside a PEM file's first block, whatever its label.
pub fn pem_contents(pem: &[u8]) -> Option<Vec<u8>> {
    der::pem::decode_vec(pem).ok().map(|(_, der)| der)
}

fn from_pem<T: for<'a> Decode<'a>>(pem: &[u8]) -> Option<T> {
    T::from_der(&pem_contents(pem)?).ok()
}

fn alt_names(names: &[AltName]) -> Option<SubjectAltName> {
    (!names.is_empty()).then(|| SubjectAltName(names.iter().map(|name| name.0.clone()).collect()))
}

fn ecdsa_with_sha256() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None }
}

/// The signature of `bytes` as X.509 wants it: the DER of r and s (RFC 3279, section 2.2.3) in a bit string.
fn signature(bytes: &[u8], sign: SignDigest<'_>) -> Result<BitString, Failure> {
    let raw = sign(&Sha256::digest(bytes).into())?;
    let mut numbers = Vec::new();
    for half in [&raw[..32], &raw[32..]] {
        numbers.extend(UintRef::new(half).and_then(|number| number.to_der()).map_err(encoding)?);
    }
    let sequence = Any::new(Tag::Sequence, numbers).and_then(|sequence| sequence.to_der()).map_err(encoding)?;
    BitString::from_bytes(&sequence).map_err(encoding)
}

fn verifies(key: &PublicKey, signed: &[u8], signature: &BitString) -> bool {
    let numbers = signature.as_bytes().and_then(|der| Vec::<der::asn1::Uint>::from_der(der).ok());
    let Some(numbers) = numbers.filter(|numbers| numbers.len() == 2) else { return false };
    let mut raw = [0; 64];
    for (number, place) in numbers.iter().zip(raw.chunks_mut(32)) {
        let bytes = number.as_bytes();
        match place.len().checked_sub(bytes.len()) {
            Some(start) => place[start..].copy_from_slice(bytes),
            None => return false,
        }
    }
    key.verify_prehash(&Sha256::digest(signed).into(), &raw)
}

fn encoding(error: der::Error) -> Failure {
    Failure::usage(format!("this cannot be encoded: {error}"))
}

fn building(error: builder::Error) -> Failure {
    Failure::usage(format!("this certificate cannot be made: {error}"))
}

/// What the builder wants to know of a signer; the signature is made outside.
struct Signer<'a>(&'a PublicKey);

#[derive(Clone)]
struct VerifyingKey(PublicKey);

impl signature::Keypair for Signer<'_> {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.clone())
    }
}

impl DynSignatureAlgorithmIdentifier for Signer<'_> {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(ecdsa_with_sha256())
    }
}

impl EncodePublicKey for VerifyingKey {
    fn to_public_key_der(&self) -> spki::Result<der::Document> {
        let info = public_key_info(&self.0).map_err(|_| spki::Error::KeyMalformed)?;
        der::Document::try_from(&info)
    }
}

/// The extensions of a certificate that vouches only for itself.
struct SelfSigned(Name);

impl BuilderProfile for SelfSigned {
    fn get_issuer(&self, _: &Name) -> Name {
        self.0.clone()
    }

    fn get_subject(&self) -> Name {
        self.0.clone()
    }

    fn build_extensions(
        &self,
        key: spki::SubjectPublicKeyInfoRef<'_>,
        _: spki::SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let subject = tbs.subject();
        Ok(vec![
            (&BasicConstraints { ca: false, path_len_constraint: None }).to_extension(subject, &[])?,
            (&KeyUsage(KeyUsages::DigitalSignature.into())).to_extension(subject, &[])?,
            (&SubjectKeyIdentifier::try_from(key)?).to_extension(subject, &[])?,
        ])
    }
}
