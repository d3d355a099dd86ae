"""Certificates made for one test: a root of our own and a leaf that C2PA accepts."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def named(common, organisation="Verax test"):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        ]
    )


def usage(*allowed):
    return x509.KeyUsage(**{name: name in allowed for name in USAGES})


def certificate(subject, key, issuer, issuer_key, *, days=30):
    start = datetime.now(UTC) - timedelta(days=60)
    root = subject == issuer
    allowed = ("key_cert_sign", "crl_sign") if root else ("digital_signature",)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=60 + days))
        .add_extension(x509.BasicConstraints(root, None), critical=True)
        .add_extension(usage(*allowed), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if not root:
        issued = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(issued, critical=False)
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def write(folder, *, days=30, curve=None, password=None):
    """chain.pem, key.pem and root.pem in the folder; paths of the first two."""
    root_key, key = (ec.generate_private_key(curve or ec.SECP256R1()) for _ in range(2))
    root, leaf = named("Test root"), named("Test signer")
    chain = [
        certificate(leaf, key, root, root_key, days=days),
        certificate(root, root_key, root, root_key),
    ]
    pems = [one.public_bytes(Encoding.PEM) for one in chain]
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chain.pem").write_bytes(b"".join(pems))
    (folder / "root.pem").write_bytes(pems[1])
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    return folder / "chain.pem", folder / "key.pem"
